"""The functions of built-in categories: the mask of glasses, the judge and the loss of freckles.

A face lies in the pictures as the models want it (FFHQ).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.plugins.builtin import GLASSES_REGIONS
from keyface.plugins.extensions import Regions

_ABOVE, _BELOW, _BESIDE = 0.3, 0.35, 0.5
"""How far a pair of glasses reaches above and below the middle of the eyes, and beside them, in widths from
the outer corner of one eye to that of the other."""

_WIDTHS_OF_ONE = 3
"""The same width in widths of a single eye, where only one is seen."""

_SIDE = 128
"""Side in pixels of the pictures in which freckles are counted; others are resized."""

_FINE, _COARSE = 0.5, 1.5
"""Standard deviations of blurs, in its pixels: the finer one keeps a freckle, the coarser one loses it."""

_CHEEKS = (67, 84, 42, 86)
"""First and last row, first and last column of the part of the picture that is looked at: cheeks and nose."""

_DEPTH = 0.015
"""How much darker than the skin around it a freckle is at least, of intensities in [0, 1]."""

_FEW, _MANY = 16, 24
"""So many dark spots a face without freckles may have, and so many tell a freckled one."""

_TONE_WEIGHT = 0.5
_TONE_CELLS = 16


def glasses_mask(images: Tensor, regions: Regions) -> Tensor:
    """Return a band across the face in which glasses can be, (n, 1, s, s): see `Mask`.

    It lies around the eyes, as high as these are apart: bangs hide brows, lids may be closed. Where only one
    eye is found, it reaches all across; where none is, all regions of glasses are free.
    """
    left, right, worn = (regions((name,))[:, 0] > 0.5 for name in ("l_eye", "r_eye", "eye_g"))
    eyes = left | right | worn
    both = worn.any(dim=(1, 2)) | (left.any(dim=(1, 2)) & right.any(dim=(1, 2)))
    band = torch.ones_like(eyes)
    places = torch.arange(eyes.shape[1], device=eyes.device)
    for mask, found, whole in zip(band, eyes, both, strict=True):
        if found.any() and not found.all():  # all of a picture is an eye where nothing finds regions
            rows, columns = places[found.any(dim=1)], places[found.any(dim=0)]
            middle, first, last = (float(each) for each in (rows.float().mean(), columns[0], columns[-1]))
            width = last - first
            if whole:
                mask[:, (places < first - _BESIDE * width) | (places > last + _BESIDE * width)] = False
            else:
                width *= _WIDTHS_OF_ONE
            mask[(places < middle - _ABOVE * width) | (places > middle + _BELOW * width)] = False
    return regions(GLASSES_REGIONS) * band[:, None]


def freckles_judge(images: Tensor) -> Tensor:
    """Return how freckled cheeks and nose are, (n,) in [0, 1], by their small dark spots; see `Judge`."""
    grey = (images.float().mean(dim=1, keepdim=True) + 1) / 2
    if grey.shape[-1] != _SIDE:
        grey = F.interpolate(grey, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
    fine = _blurred(grey, _FINE)
    darkest = fine == -F.max_pool2d(-fine, 3, stride=1, padding=1)
    spots = darkest & (_blurred(grey, _COARSE) - fine > _DEPTH)
    first, last, left, right = _CHEEKS
    number = spots[:, 0, first:last, left:right].float().sum(dim=(1, 2))
    return ((number - _FEW) / (_MANY - _FEW)).clamp(0.0, 1.0)


def freckles_loss(edited: Tensor, source: Tensor) -> Tensor:
    """Return how much the tone of the picture changes, (n,): freckles are spots and no tan; see `Loss`."""
    cells = (_TONE_CELLS, _TONE_CELLS)
    change = F.adaptive_avg_pool2d(edited, cells) - F.adaptive_avg_pool2d(source, cells)
    return _TONE_WEIGHT * change.abs().mean(dim=(1, 2, 3)) / 2


def _blurred(grey: Tensor, sigma: float) -> Tensor:
    """Blur (n, 1, s, s) with a Gaussian of so many pixels."""
    radius = max(1, round(3 * sigma))
    places = torch.arange(-radius, radius + 1, device=grey.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(grey, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
