"""Locality: how much an edit changed where it had no business to change anything.

Compare with the source clip: what the autoencoder loses is the edit's, too, where an edit shows it.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio

from keyface.celeba import REGIONS
from keyface.faces.regions import region_mask
from keyface.metrics.psnr import psnr_of_error

BEHIND = ("background", "cloth", "neck", "neck_l")
"""CelebAMask-HQ classes that are neither face nor hair, with what is worn on either."""

LEAST_CHANGE = 1 / 255
"""One step of 8-bit intensities in [0, 1]: an edit that changes less has nothing to be near to."""

_PIXEL_RANGE = 2.0  # images are in [-1, 1]


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of images (..., H, W), clamped to [-1, 1]."""
    return peak_signal_noise_ratio(images.clamp(-1, 1), reference.clamp(-1, 1), data_range=(-1.0, 1.0))


def _outside_sums(edited: Tensor, reference: Tensor, region: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of |difference| and difference² of values in [0, 1] outside `region`, and their number."""
    outside = ~region.bool().reshape(len(region), 1, *region.shape[-2:])
    difference = (edited.clamp(-1, 1) - reference.clamp(-1, 1)).double() / _PIXEL_RANGE * outside
    return difference.abs().sum(), difference.square().sum(), outside.sum() * edited.shape[1]


def outside_change(edited: Tensor, reference: Tensor, region: Tensor) -> Tensor:
    """Return the mean absolute change outside the region that the edit may change.

    Args:
        edited: (B, C, H, W) in [-1, 1].
        reference: (B, C, H, W) in [-1, 1], usually the source clip.
        region: (B, H, W) or (B, 1, H, W) bool, true where change is asked for.

    Returns:
        A scalar in units of an intensity range of [0, 1]; 0 where the region covers everything.
    """
    absolute, _, count = _outside_sums(edited, reference, region)
    return (absolute / count.clamp(min=1)).float()


def outside_psnr(edited: Tensor, reference: Tensor, region: Tensor) -> Tensor:
    """Return the PSNR in dB outside the region, infinite for no change; arguments as of `outside_change`."""
    _, squares, count = _outside_sums(edited, reference, region)
    return psnr_of_error(squares / count.clamp(min=1), value_range=1.0).float()


def gain(error: float, unedited: float) -> float | None:
    """Return how much of the way from the original to the faultless edit an edit went: 1 - error / unedited.

    Doing nothing scores 0 and the faultless edit 1; an edit further from the faultless one than the original
    is scores below 0.

    Args:
        error: The edit's distance to the faultless edit, inside the regions.
        unedited: The original's own, intensities in [0, 1].

    Returns:
        The gain; None where the faultless edit differs from the original by less than `LEAST_CHANGE`.
    """
    return None if unedited < LEAST_CHANGE else 1.0 - error / unedited


def person_mask(labels: Tensor) -> Tensor:
    """Return face and hair, with glasses, hat and ear-rings: (B, H, W) bool from class labels (B, H, W)."""
    return region_mask(labels, [name for name in REGIONS if name not in BEHIND])


def background_drift(
    edited: Tensor, reference: Tensor, person: Tensor | None = None, region: Tensor | None = None
) -> Tensor:
    """Return the mean absolute change of what is behind the person and not to be edited.

    Args:
        edited: (B, C, H, W) in [-1, 1].
        reference: (B, C, H, W) in [-1, 1], usually the source clip.
        person: (B, H, W) bool, `person_mask` of the original; None where nobody labelled it, and then the
            drift is the change outside the region.
        region: (B, H, W) bool, where the edit may change the picture.

    Returns:
        A scalar in units of an intensity range of [0, 1].

    Raises:
        ValueError: Neither mask is given.
    """
    return outside_change(edited, reference, _not_behind(person, region))


def _not_behind(person: Tensor | None, region: Tensor | None) -> Tensor:
    masks = [mask.bool() for mask in (person, region) if mask is not None]
    if not masks:
        raise ValueError("background drift needs the person's mask or the edit's region")
    return masks[0] if len(masks) == 1 else masks[0] | masks[1].reshape(masks[0].shape)


class _Outside(Metric):
    """Sums of change outside a mask over all frames seen."""

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    absolute: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("absolute", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> dict[str, Tensor]:
        """Return `l1`, the mean absolute change in [0, 1], and `psnr` in dB."""
        count = self.count.clamp(min=1)
        return {
            "l1": (self.absolute / count).float(),
            "psnr": psnr_of_error(self.squares / count, value_range=1.0).float(),
        }

    def _add(self, edited: Tensor, reference: Tensor, mask: Tensor) -> None:
        absolute, squares, count = _outside_sums(edited, reference, mask)
        self.absolute += absolute
        self.squares += squares
        self.count += count


class OutsideChange(_Outside):
    """Change outside the region over all frames seen: `l1` as in `outside_change`, `psnr` in dB."""

    def update(self, edited: Tensor, reference: Tensor, region: Tensor) -> None:
        """Add frames; the arguments are those of `outside_change`."""
        self._add(edited, reference, region)


class BackgroundDrift(_Outside):
    """`background_drift` over all frames seen as `l1`, and the same change as `psnr` in dB."""

    def update(
        self, edited: Tensor, reference: Tensor, person: Tensor | None = None, region: Tensor | None = None
    ) -> None:
        """Add frames; the arguments are those of `background_drift`."""
        self._add(edited, reference, _not_behind(person, region))
