"""What several categories that are edited together ask of one edit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from keyface.plugins.category import Category


def free_regions(categories: Iterable[Category]) -> tuple[str, ...]:
    """Return the regions that an edit of several categories is free to change.

    Returns:
        Each name once; nothing, which means the whole image, where one of them has no regions.
    """
    regions = [category.regions for category in categories]
    return tuple(dict.fromkeys(name for names in regions for name in names)) if all(regions) else ()


_SHARED = 0.06
"""How much more strength each edit beyond the second takes, as a fraction. Figures in docs/results.md."""


@dataclass(frozen=True)
class Demands:
    """What several categories ask of one edit.

    Attributes:
        strength: The mean of what they ask for: the largest would make each of them as strong as the
            strongest, at the cost of the likeness. Three and more take more than the mean, without which not
            all of them come.
        guidance: The mean, too.
        threshold: The smallest, since what is left out of the frame is lost.
        injection: The smallest, since one edit that cannot grow under ε1's features fails altogether.
        residual: The smallest, likewise.
        reshapes: Whether one of them does, for the same reason.
    """

    strength: float = 1.0
    guidance: float = 1.0
    threshold: float = 1.0
    injection: float = 1.0
    residual: float = 1.0
    reshapes: bool = False

    @classmethod
    def of(cls, categories: Sequence[Category]) -> "Demands":
        """Return the demands of categories that are edited together; 1 in everything where there are none."""
        if not categories:
            return cls()
        return cls(
            fmean(category.strength for category in categories) * (1 + _SHARED * max(0, len(categories) - 2)),
            fmean(category.guidance for category in categories),
            min(category.threshold for category in categories),
            min(category.injection for category in categories),
            min(category.residual for category in categories),
            any(category.reshapes for category in categories),
        )
