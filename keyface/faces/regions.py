"""The 19 classes of CelebAMask-HQ and masks made of them."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES: tuple[str, ...] = (
    "background",
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)
"""Class names in label order: ``CLASSES[label]``. ``eye_g`` is glasses, ``ear_r`` an ear-ring, ``neck_l`` a
necklace; left and right are the person's."""

IDS: dict[str, int] = {name: label for label, name in enumerate(CLASSES)}
"""Label of each class name."""


def region_mask(labels: Tensor, names: Iterable[str]) -> Tensor:
    """Mark the pixels that belong to any of the named classes.

    Args:
        labels: (B, H, W) integer class labels, 0 to 18.
        names: Names from `CLASSES`.

    Returns:
        (B, H, W) bool.
    """
    names = list(names)
    unknown = [name for name in names if name not in IDS]
    if unknown:
        raise ValueError(f"unknown face regions {unknown}; CelebAMask-HQ has {', '.join(CLASSES)}")
    ids = torch.tensor([IDS[name] for name in names], device=labels.device, dtype=torch.int64)
    return torch.isin(labels.to(torch.int64), ids)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask (B, H, W) bool by ``radius`` pixels in every direction (a square neighbourhood)."""
    if radius == 0:
        return mask
    grown = F.max_pool2d(mask[:, None].float(), kernel_size=2 * radius + 1, stride=1, padding=radius)
    return grown[:, 0] > 0
