"""Where edits may change faces: the masks of categories that are edited together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from keyface.plugins.demands import free_regions

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.plugins.category import Category
    from keyface.plugins.extensions import Regions


def are_held(categories: Collection[Category]) -> bool:
    """Say whether categories hold their edit to a part of the face: all of them have regions or a mask."""
    return bool(categories) and all(each.mask is not None or each.regions for each in categories)


def free_masks(categories: Sequence[Category], images: Tensor, regions: Regions) -> Tensor:
    """Return where an edit of several categories may change faces: where one of them may.

    Args:
        categories: What is edited together; one with a `mask` is held to that in place of its regions.
        images: (n, 3, s, s) in [-1, 1].
        regions: Finds regions in these images.

    Returns:
        (n, 1, s, s) in [0, 1], on the device of the regions' masks.

    Raises:
        ValueError: A category's mask is of another shape, or not in [0, 1].
    """
    plain = [each for each in categories if each.mask is None]
    if plain and not free_regions(plain):
        return regions(())  # one of them may change everything
    free = regions(free_regions(plain)) if plain else None
    for category in categories:
        if category.mask is not None:
            own = category.mask(images, regions)
            wanted = (len(images), 1, *images.shape[-2:])
            if tuple(own.shape) != wanted or not bool(((own >= 0) & (own <= 1)).all()):
                raise ValueError(
                    f"edit {category.name!r}: its mask gave {tuple(own.shape)}; it must be {wanted} in [0, 1]"
                )
            own = own.float()
            free = own if free is None else free.maximum(own.to(free.device))
    return regions(()) if free is None else free
