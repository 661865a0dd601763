"""Clips with one known fault each: too little or too much of an edit, flicker, shift, zoom, colour drift.

The faults are small ones that a person sees, so a metric that misses one misses something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.evaluation.rows.controls import DRIFT, FLICKER, LAZY, OVERDONE, SHIFT, ZOOM

_RANGE = 2.0  # frames are in [-1, 1], sizes of faults are given for intensities in [0, 1]


def blend(original: Tensor, edit: Tensor, share: float) -> Tensor:
    """Return frames (T, 3, H, W) a share of the way from the original to the edit; above 1 beyond it."""
    return (original + share * (edit - original)).clamp(-1, 1)


def flicker(frames: Tensor, amplitude: float) -> Tensor:
    """Return frames (T, 3, H, W) in [-1, 1] brighter (first, third, …) and darker in turn.

    Args:
        frames: The frames.
        amplitude: By how much, intensities in [0, 1].
    """
    signs = 1.0 - 2.0 * (torch.arange(len(frames)) % 2)
    return (frames + _RANGE * amplitude * signs[:, None, None, None]).clamp(-1, 1)


def shift(frames: Tensor, pixels: float) -> Tensor:
    """Return frames (T, 3, H, W) moved to the right by whole pixels; the left edge is repeated."""
    return F.pad(frames, (int(pixels), 0, 0, 0), mode="replicate")[..., : frames.shape[-1]]


def zoom(frames: Tensor, scale: float) -> Tensor:
    """Return frames (T, 3, H, W) in [-1, 1] enlarged about their middle, bicubic; a scale of 1 is none."""
    places = torch.tensor([[1 / scale, 0.0, 0.0], [0.0, 1 / scale, 0.0]]).expand(len(frames), 2, 3)
    grid = F.affine_grid(places, list(frames.shape), align_corners=False)
    zoomed = F.grid_sample(frames, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return zoomed.clamp(-1, 1)


def drift(frames: Tensor, amplitude: float) -> Tensor:
    """Return frames (T, 3, H, W) in [-1, 1] ever redder and less blue, from the first frame, unchanged, on.

    Args:
        frames: The frames.
        amplitude: By how much at the last frame, intensities in [0, 1].
    """
    towards = torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    course = torch.linspace(0, 1, len(frames))[:, None, None, None]
    return (frames + _RANGE * amplitude * course * towards).clamp(-1, 1)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a control.

    Attributes:
        size: How large the fault is, in the unit of what makes it.
        change: Puts a fault of that size into frames; None is a share of the edit, as of `blend`.
        over_time: Whether a clip of one frame cannot have it.
    """

    size: float
    change: Callable[[Tensor, float], Tensor] | None = None
    over_time: bool = False

    def spoil(self, original: Tensor, faultless: Tensor) -> Tensor:
        """Return frames with the fault; all are (T, 3, H, W) in [-1, 1]."""
        if self.change is None:
            return blend(original, faultless, self.size)
        return self.change(faultless, self.size)


FAULTS: Mapping[str, Fault] = {
    LAZY: Fault(0.25),
    OVERDONE: Fault(1.5),
    FLICKER: Fault(0.01, flicker, over_time=True),
    SHIFT: Fault(1, shift),
    ZOOM: Fault(1.01, zoom),
    DRIFT: Fault(0.04, drift, over_time=True),
}
"""Controls with a fault, as `keyface.evaluation.rows.controls.CONTROLS` describes them."""
