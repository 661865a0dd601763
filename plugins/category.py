"""What an edit category is: plain data, checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keyface.plugins.checks import faults_of
from keyface.plugins.extensions import Judge, Loss, Mask
from keyface.plugins.faults import report


@dataclass(frozen=True)
class Category:
    """One thing that can be edited in a face.

    Attributes:
        name: What the user writes, as in `--edits beard,glasses`; lower case, digits, `-`.
        targets: Phrases for the face after the edit; training draws one of them.
        source: The phrase for the face before the edit.
        attribute: The label that the edit changes: a CelebA name, one of `EXTRA_ATTRIBUTES` or of
            `own_labels`.
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
        residual: Fraction of the usual time that ε1's residual features are injected, in [0, 1]; they hold
            what lies at a place, so that under all of them a hat hardly covers hair.
        reshapes: Whether the edit changes shapes, as beards, glasses and hats do, and not only colours, lines
            or an expression. Queries and keys hold the shape of what ε1 sees, so such edits get its keys and
            values instead: new shapes made of what the person looks like (MasaCtrl, Cao et al. 2023).
        place: Where the phrase stands in a caption: a `clause` of its own ("wearing glasses"), an
            `adjective` of the person ("old"), or the `noun` for the person ("woman").
        needs: Labels that an image must have for the edit to make sense in training (beard: Male).
        hidden_by: Labels that hide the edit's result, such as Wearing_Hat for bangs.
        weights: How often training draws each of `targets`, relatively; empty draws all equally often.
        negative: A phrase that guidance moves away from, beside the source caption; empty for none.
        own_labels: Labels that neither CelebA nor keyface has, and that `attribute`, `needs` and `hidden_by`
            may name. Training takes them from the data, and that of `attribute` from the `judge` where data
            lack it.
        defaults: Family of models (`keyface.plugins.checks.FAMILIES`) → its own `strength`, `guidance`,
            `threshold`, `injection` and `residual`, in place of those above.
        mask: Where the edit may change a face, more closely than `regions`, which it replaces in editing and
            training.
        judge: Whether faces look as after the edit, where no classifier knows the label, or better than one.
        loss: What ε2 learns of the edit beside Eq. 6.

    Example:
        >>> pale = Category("pale", targets=("pale skin",), source="tanned skin", attribute="Pale_Skin")
        >>> pale.applies_to({"Pale_Skin": False})
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
    residual: float = 1.0
    reshapes: bool = False
    place: str = "clause"
    needs: tuple[str, ...] = ()
    hidden_by: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    negative: str = ""
    own_labels: tuple[str, ...] = ()
    defaults: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)
    mask: Mask | None = field(default=None, hash=False)
    judge: Judge | None = field(default=None, hash=False)
    loss: Loss | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Check everything: categories also come from YAML and from third parties."""
        report(self.name, faults_of(self))

    def for_family(self, family: str | None) -> "Category":
        """Return the category with what it asks of one family of models; see `defaults`."""
        asked: dict[str, Any] = dict(self.defaults.get(family or "", {}))
        return replace(self, **asked, defaults={})

    def may_apply_to(self, attributes: Mapping[str, bool]) -> bool:
        """Say whether `applies_to` may hold, before the category's judge has told a label that is unknown."""
        if self.judge is None or self.attribute in attributes:
            return self.applies_to(attributes)
        return self.applies_to({**attributes, self.attribute: not self.present})

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
