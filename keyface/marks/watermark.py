"""A watermark in the pixels that an edit changed: a pattern too faint to see, whose sign alternates in time.

The pattern is a sum of waves over a square tile. They go between blue and yellow and leave the luminance as
it is, since eyes see flicker of this size in luminance well and between blue and yellow badly. Their
phases are fixed pseudo-random numbers, so that no picture has them by chance. What a picture shows changes
little within a sixth of a second, while the pattern changes its sign: the difference of successive sixths
shows the pattern and hardly the picture. Nothing is trained; a frame's time and mask are all it takes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

VERSION = 2

TILE = 64
"""Side of the square after which the pattern repeats, in units."""

_WAVES = (5.0, 16.0)
"""Shortest and longest wave, in units."""

HALF_PERIOD = Fraction(1, 6)
"""Seconds after which the sign changes."""

LEAST_SIDE = 160
LEAST_SECONDS = 1.0
LEAST_FPS = 8
"""Side of a face's square in pixels, length and frame rate below which a mark is hardly ever found."""

_BLUE_YELLOW = (0.0, -0.1741, 1.7232)
"""Red, green and blue of what is added: Cb of BT.709, which has no luminance at grey; mean square 1."""

_LEVELS = 2.48
"""Root mean square of what is added, over the colours, of 255: 40.24 dB; rounding takes some 0.1 of it."""

_MOST_RAISED = 1.4
"""How much more than `_LEVELS` is added inside a mask to make up for its soft border."""

_RAMP = (0.02, 0.10)
"""Values of the mask between which the mark fades in."""

_UNITS = (2.0, 12.0)
_UNITS_ACROSS = 110
_UNITS_HIGH = 360


class Watermark:
    """Write the mark into the frames of one video; equal frames, masks and times give equal results.

    Args:
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
        unit: Pixels of one unit of the pattern, see `unit_for`.
    """

    def __init__(self, height: int, width: int, unit: float) -> None:
        self.height, self.width, self.unit = height, width, unit

    @cached_property
    def pattern(self) -> Tensor:
        """Return the pattern over the frame, (H, W), mean square about 1."""
        down, across = waves()
        rows, columns = (
            np.exp(2j * math.pi / TILE * np.outer((np.arange(length) + 0.5) / self.unit, _signed()))
            for length in (self.height, self.width)
        )
        spectrum = np.zeros((TILE, TILE), dtype=np.complex128)
        spectrum[down, across] = np.exp(1j * phases())
        values = (rows @ spectrum @ columns.T).real * math.sqrt(2 / len(down))
        return torch.from_numpy(values.astype(np.float32))

    def write(self, frames: Tensor, mask: Tensor, seconds: Sequence[Fraction]) -> Tensor:
        """Return frames with the mark; where the mask is about 0 they are untouched.

        Args:
            frames: (n, 3, H, W) in [-1, 1].
            mask: (n, 1, H, W) in [0, 1], where the edit changed them.
            seconds: When each is shown.
        """
        low, high = _RAMP
        share = ((mask - low) / (high - low)).clamp(0, 1)
        added: Tensor = self.pattern * share
        written = (share > 0).sum(dim=(1, 2, 3), keepdim=True)
        power = added.square().sum(dim=(1, 2, 3), keepdim=True)
        raised = (written / power.clamp(min=1e-6)).sqrt().clamp(max=_MOST_RAISED)
        signs = torch.tensor([sign_at(each) for each in seconds], dtype=torch.float32).view(-1, 1, 1, 1)
        added *= raised * signs * (2 * _LEVELS / 255)
        colored = frames + added * torch.tensor(_BLUE_YELLOW).view(1, 3, 1, 1)
        return torch.where(share > 0, colored.clamp(-1, 1), frames)


def unit_for(side: float, height: int, width: int) -> float:
    """Return the size of the pattern for a face's square: fine enough for it, not too fine for the frame.

    Args:
        side: Of the square, in pixels.
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
    """
    return min(max(side / _UNITS_ACROSS, min(height, width) / _UNITS_HIGH, _UNITS[0]), _UNITS[1])


def sign_at(seconds: Fraction) -> int:
    """Return the pattern's sign at a time."""
    return 1 - 2 * (math.floor(seconds / HALF_PERIOD) % 2)


@lru_cache(maxsize=1)
def waves() -> tuple[np.ndarray, np.ndarray]:
    """Return how often each wave repeats down and across a tile: (K,) and (K,), one of each pair ±k."""
    short, long = _WAVES
    down, across = np.meshgrid(_signed(), _signed(), indexing="ij")
    length = TILE / np.maximum(np.hypot(down, across), 1e-9)
    chosen = (length >= short) & (length <= long) & ((across > 0) | ((across == 0) & (down > 0)))
    return down[chosen], across[chosen]


@lru_cache(maxsize=1)
def phases() -> np.ndarray:
    """Return the phase of each wave (K,) in [0, 2π): SHA-256 of a counter, so the same for ever."""
    count = len(waves()[0])
    words = b"".join(
        hashlib.sha256(f"keyface watermark {VERSION}, {block}".encode()).digest()
        for block in range(math.ceil(count / 8))
    )
    numbers: np.ndarray = np.frombuffer(words, dtype=">u4")[:count]
    turns: np.ndarray = numbers.astype(np.float64) * (2 * math.pi / 2**32)
    return turns


def _signed() -> np.ndarray:
    """Return -32 … 31 in the order of a discrete Fourier transform, as whole numbers."""
    numbers: np.ndarray = np.rint(np.fft.fftfreq(TILE, 1 / TILE)).astype(np.int64)
    return numbers
