"""Masks of face regions, from label maps of CelebAMask-HQ's 19 classes."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.celeba import REGION_IDS, REGIONS


def check_regions(names: Iterable[str]) -> None:
    """Refuse names that are not in `keyface.celeba.REGIONS`."""
    unknown = [name for name in names if name not in REGION_IDS]
    if unknown:
        raise ValueError(f"unknown face regions {unknown}; CelebAMask-HQ has {', '.join(REGIONS)}")


def region_mask(labels: Tensor, names: Iterable[str]) -> Tensor:
    """Mark the pixels that belong to any of the named classes.

    Args:
        labels: (B, H, W) integer class labels, 0 to 18.
        names: Names from `keyface.celeba.REGIONS`.

    Returns:
        (B, H, W) bool.
    """
    names = list(names)
    check_regions(names)
    ids = torch.tensor([REGION_IDS[name] for name in names], device=labels.device, dtype=torch.int64)
    return torch.isin(labels.to(torch.int64), ids)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask (B, H, W) bool by `radius` pixels in every direction (a square neighbourhood)."""
    if radius == 0:
        return mask
    grown = F.max_pool2d(mask[:, None].float(), kernel_size=2 * radius + 1, stride=1, padding=radius)
    return grown[:, 0] > 0
