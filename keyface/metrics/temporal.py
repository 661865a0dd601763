"""Temporal consistency: how much of an edited clip changes that the motion does not explain (paper Eq. 7)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

Normalization = Literal["pairs", "frames"]


def warp(images: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Fetch each pixel from where it went: warped(p) = images(p + flow(p)), bilinearly.

    Args:
        images: (B, C, H, W), the frames at t + 1.
        flow: (B, 2, H, W), displacement (x, y) in pixels from t to t + 1.

    Returns:
        The frames warped to t, (B, C, H, W), and a bool mask (B, H, W) of pixels that stayed in the frame.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)[None, :]
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), dim=-1)
    warped = F.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )
    return warped, inside


def pair_errors(frames: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean |x_t - warp(x_{t+1})| of each pair of neighbouring frames over its valid pixels.

    Args:
        frames: (T, C, H, W) in [-1, 1].
        flow: (T - 1, 2, H, W) in pixels, from t to t + 1; exact, or estimated on the source clip.
        valid: (T - 1, H, W) or (T - 1, 1, H, W) bool, false where t's pixel is hidden at t + 1; None: all.

    Returns:
        (T - 1,), in units of an intensity range of [0, 1] (half the difference of values in [-1, 1]). A pair
        without a valid pixel gives 0.
    """
    if len(flow) != len(frames) - 1:
        raise ValueError(f"{len(frames)} frames need {len(frames) - 1} flow fields, got {len(flow)}")
    warped, usable = warp(frames[1:], flow)
    if valid is not None:
        usable = usable & valid.reshape(usable.shape).bool()
    error = (frames[:-1] - warped).abs().mean(dim=1) / 2.0
    return (error * usable).sum(dim=(1, 2)) / usable.sum(dim=(1, 2)).clamp(min=1)


def temporal_loss(
    frames: Tensor, flow: Tensor, valid: Tensor | None = None, normalization: Normalization = "pairs"
) -> Tensor:
    """Return the temporal loss of one clip (Eq. 7): sum over t of |x_t - warp(x_{t+1})|, divided.

    Args:
        frames: (T, C, H, W) in [-1, 1].
        flow: (T - 1, 2, H, W) in pixels, from t to t + 1.
        valid: (T - 1, H, W) or (T - 1, 1, H, W) bool; None means every pixel.
        normalization: `pairs` divides by the T - 1 terms that were added, `frames` by T as in the paper.

    Returns:
        A scalar in units of an intensity range of [0, 1]; 0 for a clip of one frame. Even an unedited clip
        scores above 0, by resampling and by true changes of light: read it beside the source clip's value.
    """
    if len(frames) < 2:
        return frames.new_zeros(())
    total = pair_errors(frames, flow, valid).sum()
    return total / (len(frames) if normalization == "frames" else len(frames) - 1)


class TemporalLoss(Metric):
    """`temporal_loss` of each clip, averaged over clips.

    Args:
        normalization: `pairs` (mean over T - 1 pairs) or `frames` (the paper's 1 / T).
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False

    total: Tensor
    clips: Tensor

    def __init__(self, normalization: Normalization = "pairs") -> None:
        super().__init__()
        self.normalization: Normalization = normalization
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, frames: Tensor, flow: Tensor, valid: Tensor | None = None) -> None:
        """Add one clip; the arguments are those of `temporal_loss`."""
        self.total += temporal_loss(frames, flow, valid, self.normalization).double()
        self.clips += 1

    def compute(self) -> Tensor:
        """Return the mean over clips, a scalar."""
        return (self.total / self.clips).float()
