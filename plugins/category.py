"""What an edit category is: plain data, checked when it is made."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from keyface.celeba import ATTRIBUTES, EXTRA_ATTRIBUTES, REGIONS
from keyface.configuration import did_you_mean

PLACES: tuple[str, ...] = ("clause", "adjective", "noun")


class EditError(ValueError):
    """An edit category that cannot be used, said in one line."""


@dataclass(frozen=True)
class Category:
    """One thing that can be edited in a face.

    Attributes:
        name: What the user writes, as in `--edits beard,glasses`; lower case, digits, `-`.
        targets: Phrases for the face after the edit; training draws one of them.
        source: The phrase for the face before the edit.
        attribute: The label that the edit changes: a CelebA name or one of `EXTRA_ATTRIBUTES`.
        present: The label's value after the edit.
        replaces: Phrases that a caption may hold and that the targets contradict.
        regions: CelebAMask-HQ classes that the edit is free to change; empty means the whole image.
        conflicts: Names of categories that cannot be combined with this one.
        strength: How much of the inversion the edit undoes, as a multiple of what the model's edits usually
            do, in (0, 2]; no edit undoes more than the whole.
        guidance: The guidance scale, as a multiple of the model's usual one, in (0, 2]; below 1 for what
            comes easily, such as colours, which too much of it makes gaudy.
        threshold: The change from which a pixel is taken from the edit, as a multiple of the usual
            thresholds (`Composition.low`, `.high`), in (0, 2]; below 1 for faint changes, such as the skin's
            with age.
        injection: Fraction of the usual time that ε1's attention is injected, in [0, 1].
        reshapes: Whether the edit changes shapes, as beards, glasses and hats do, and not only colours, lines
            or an expression. Queries and keys hold the shape of what ε1 sees, so such edits get its keys and
            values instead: new shapes made of what the person looks like (MasaCtrl, Cao et al. 2023).
        place: Where the phrase stands in a caption: a `clause` of its own ("wearing glasses"), an
            `adjective` of the person ("old"), or the `noun` for the person ("woman").
        needs: Labels that an image must have for the edit to make sense in training (beard: Male).
        hidden_by: Labels that hide the edit's result, such as Wearing_Hat for bangs.

    Example:
        >>> freckles = Category("pale", targets=("pale skin",), source="tanned skin", attribute="Pale_Skin")
        >>> freckles.applies_to({"Pale_Skin": False})
        True
    """

    name: str
    targets: tuple[str, ...]
    source: str
    attribute: str
    present: bool = True
    replaces: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    strength: float = 1.0
    guidance: float = 1.0
    threshold: float = 1.0
    injection: float = 1.0
    reshapes: bool = False
    place: str = "clause"
    needs: tuple[str, ...] = ()
    hidden_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_types()
        where = f"edit category {self.name!r}"
        if not self.name or not all(
            c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in self.name
        ):
            raise EditError(f"{where}: a name is lower-case letters, digits and '-'")
        if not self.targets or not all(phrase.strip() for phrase in (*self.targets, *self.replaces)):
            raise EditError(f"{where}: targets needs at least one phrase, and no phrase may be empty")
        for attribute in (self.attribute, *self.needs, *self.hidden_by):
            if attribute not in ATTRIBUTES:
                raise EditError(
                    f"{where}: unknown attribute {attribute!r}{did_you_mean(attribute, ATTRIBUTES)}; "
                    "use a CelebA name or one of " + ", ".join(EXTRA_ATTRIBUTES)
                )
        for region in self.regions:
            if region not in REGIONS:
                raise EditError(
                    f"{where}: unknown region {region!r}{did_you_mean(region, REGIONS)}; "
                    "use CelebAMask-HQ's class names: " + ", ".join(REGIONS)
                )
        if self.name in self.conflicts:
            raise EditError(f"{where}: it cannot conflict with itself")
        for multiple in ("strength", "guidance", "threshold"):
            value = getattr(self, multiple)
            if not (math.isfinite(value) and 0.0 < value <= 2.0):
                raise EditError(f"{where}: {multiple} is {value}, it must be in (0, 2]")
        if not 0.0 <= self.injection <= 1.0:
            raise EditError(f"{where}: injection is {self.injection}, it must be in [0, 1]")
        if self.place not in PLACES:
            raise EditError(f"{where}: place is {self.place!r}, it must be one of {', '.join(PLACES)}")

    def _check_types(self) -> None:
        """Check what annotations say: categories also come from YAML and from third parties."""
        for field in ("name", "source", "attribute", "place"):
            if not isinstance(getattr(self, field), str):
                raise EditError(f"edit category {self.name!r}: {field} must be text")
        for field in ("targets", "replaces", "regions", "conflicts", "needs", "hidden_by"):
            value = getattr(self, field)
            if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
                raise EditError(f"edit category {self.name!r}: {field} must be a tuple of texts")
        for field in ("present", "reshapes"):
            if not isinstance(getattr(self, field), bool):
                raise EditError(f"edit category {self.name!r}: {field} must be true or false")
        for field in ("strength", "guidance", "threshold", "injection"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise EditError(f"edit category {self.name!r}: {field} must be a number")

    def applies_to(self, attributes: Mapping[str, bool]) -> bool:
        """Say whether an image with these labels can be trained with this edit.

        It can when it does not already look like the result, has what the edit needs and nothing that
        hides it. Labels that the image does not have are taken as false, but for the edited one itself:
        an unknown label is no ground to train on.
        """
        if self.attribute not in attributes or attributes[self.attribute] == self.present:
            return False
        if not all(attributes.get(needed, False) for needed in self.needs):
            return False
        return not any(attributes.get(hiding, False) for hiding in self.hidden_by)


def free_regions(categories: Iterable[Category]) -> tuple[str, ...]:
    """Return the regions that an edit of several categories is free to change.

    Returns:
        Each name once; nothing, which means the whole image, where one of them has no regions.
    """
    regions = [category.regions for category in categories]
    return tuple(dict.fromkeys(name for names in regions for name in names)) if all(regions) else ()


@dataclass(frozen=True)
class Demands:
    """What several categories ask of one edit.

    Attributes:
        strength: The mean of what they ask for: the largest would make each of them as strong as the
            strongest, at the cost of the likeness.
        guidance: The mean, too.
        threshold: The smallest, since what is left out of the frame is lost.
        injection: The smallest, since one edit that cannot grow under ε1's features fails altogether.
        reshapes: Whether one of them does, for the same reason.
    """

    strength: float = 1.0
    guidance: float = 1.0
    threshold: float = 1.0
    injection: float = 1.0
    reshapes: bool = False

    @classmethod
    def of(cls, categories: Sequence[Category]) -> "Demands":
        """Return the demands of categories that are edited together; 1 in everything where there are none."""
        if not categories:
            return cls()
        return cls(
            fmean(category.strength for category in categories),
            fmean(category.guidance for category in categories),
            min(category.threshold for category in categories),
            min(category.injection for category in categories),
            any(category.reshapes for category in categories),
        )
