"""Locality: how much an edit changed where it had no business to change anything.

Compare with the reconstruction of the clip (autoencoder, inversion, no edit) rather than with the source:
what the autoencoder loses would otherwise be counted as the edit's.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio

_PIXEL_RANGE = 2.0  # images are in [-1, 1]


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all pixels of images (..., H, W) in [-1, 1], clamped to it."""
    return peak_signal_noise_ratio(images.clamp(-1, 1), reference.clamp(-1, 1), data_range=(-1.0, 1.0))


def _outside_sums(edited: Tensor, reference: Tensor, region: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over values in [0, 1] outside `region`: the sums of |difference| and difference², and their number."""
    outside = ~region.bool().reshape(len(region), 1, *region.shape[-2:])
    difference = (edited.clamp(-1, 1) - reference.clamp(-1, 1)).double() / _PIXEL_RANGE * outside
    return difference.abs().sum(), difference.square().sum(), outside.sum() * edited.shape[1]


def outside_change(edited: Tensor, reference: Tensor, region: Tensor) -> Tensor:
    """Mean absolute change outside the region that the edit may change.

    Args:
        edited: (B, C, H, W) in [-1, 1].
        reference: (B, C, H, W) in [-1, 1], usually the reconstruction.
        region: (B, H, W) or (B, 1, H, W) bool, true where change is asked for.

    Returns:
        A scalar in units of an intensity range of [0, 1]; 0 where the region covers everything.
    """
    absolute, _, count = _outside_sums(edited, reference, region)
    return (absolute / count.clamp(min=1)).float()


def outside_psnr(edited: Tensor, reference: Tensor, region: Tensor) -> Tensor:
    """PSNR in dB outside the region; the arguments are those of `outside_change`. Infinite for no change."""
    _, squares, count = _outside_sums(edited, reference, region)
    return (-10.0 * torch.log10(squares / count.clamp(min=1))).float()


class OutsideChange(Metric):
    """Change outside the region over all frames seen: `l1` as in `outside_change`, `psnr` in dB."""

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

    def update(self, edited: Tensor, reference: Tensor, region: Tensor) -> None:
        """Add frames; the arguments are those of `outside_change`."""
        absolute, squares, count = _outside_sums(edited, reference, region)
        self.absolute += absolute
        self.squares += squares
        self.count += count

    def compute(self) -> dict[str, Tensor]:
        """`l1`, the mean absolute change in [0, 1], and `psnr` in dB."""
        count = self.count.clamp(min=1)
        return {
            "l1": (self.absolute / count).float(),
            "psnr": (-10.0 * torch.log10(self.squares / count)).float(),
        }
