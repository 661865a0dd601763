"""The search for the watermark in a video that may have been cropped, resized, thinned out and compressed.

What is compared with the pattern is the difference of successive sixths of a second, at every size and place
of the pattern and in many windows, since nothing is known of where the edit was. A score is a weighted sum
of cosines of differences of phases, divided by its standard deviation. The weights come from the picture
alone; were the picture not marked, the phases of the pattern would be random to it, and the score a standard
normal at most, whatever the picture shows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.marks.watermark import HALF_PERIOD, TILE, VERSION, phases, waves

if TYPE_CHECKING:
    from keyface.video import VideoReader

THRESHOLD = 7.3
"""Least score that counts as found."""

_STARTS = 4
"""Times within `HALF_PERIOD` at which the first change of the sign is looked for: a cut may have moved it."""

_PART = 160
"""Steps of HALF_PERIOD / _STARTS that are looked at together: 6.7 seconds."""

_SHORT_SIDE = 540
"""Larger frames are looked at in this size: the pattern is coarser in them."""

_SMALLEST_UNIT = 0.9
_FINEST = 400
_COARSEST = 60
"""Units that the shorter side of a frame has at most and at least; `unit_for` lets it have fewer than 360."""

_SCALE_STEP = 1.03
_BLOCK = 16
_WINDOWS = (
    (3, 3, 2, 2),
    (4, 4, 2, 2),
    (3, 6, 2, 3),
    (6, 3, 3, 2),
    (6, 6, 3, 3),
    (8, 8, 4, 4),
    (12, 12, 6, 6),
)
"""Rows and columns of windows and the steps between them, in blocks."""

_NOISE_LEVELS = 0.7
"""Differences below these many of 255 levels are noise and not raised to the others' size."""

_BLUENESS = (-0.1146, -0.3854, 0.5)
"""What is looked at of red, green and blue: Cb of BT.709, in which the pattern is."""


class Score(NamedTuple):
    """How well the pattern fits where it fits best.

    Attributes:
        value: In standard deviations of what pictures without a mark give.
        unit: Pixels of one unit of the pattern, of the frames as they are.
        first: Second at which the part that was looked at begins.
        stop: And ends.
    """

    value: float
    unit: float
    first: float
    stop: float


@dataclass(frozen=True)
class Sighting:
    """What the search for a watermark found.

    Attributes:
        found: Whether there is one.
        version: Of the watermark; None if there is none.
        score: Of the best fit, in standard deviations.
        threshold: From which on a mark counts as found.
        first: Second at which the part of the video with the best fit begins.
        stop: And ends.
    """

    found: bool
    version: int | None
    score: float
    threshold: float
    first: float
    stop: float


def find_watermark(reader: VideoReader) -> Sighting:
    """Look for the watermark in a video, part after part, until it is found.

    Raises:
        ValueError: The video is damaged.
    """
    best = Score(0.0, 0.0, 0.0, 0.0)
    search = Search(reader.height, reader.width)
    start = reader.timings[0].pts
    times = iter([(each.pts - start) * reader.time_base for each in reader.timings])
    for frames in reader.chunks(reader.at_once()):
        for score in search.add(frames, list(itertools.islice(times, len(frames)))):
            best = max(best, score)
        if best.value >= THRESHOLD:
            break
    else:
        best = max([best, *search.finish()])
    found = best.value >= THRESHOLD
    return Sighting(found, VERSION if found else None, best.value, THRESHOLD, best.first, best.stop)


class Search:
    """Take the frames of one video in order, and score parts of it, then all of it.

    Args:
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        short = min(height, width)
        self._shrunk = min(_SHORT_SIDE / short, 1.0)
        self._size = round(height * self._shrunk), round(width * self._shrunk)
        least = max(_SMALLEST_UNIT, min(self._size) / _FINEST)
        most = max(2.5, min(self._size) / _COARSEST)
        steps = math.ceil(math.log(most / least) / math.log(_SCALE_STEP))
        self._units = [least * _SCALE_STEP**step for step in range(steps + 1)]
        self._sums, self._counts = self._nothing()
        self._part, self._parts, self._end = 0, 0, 0.0
        self._total: list[Fields] = []

    def add(self, frames: Tensor, seconds: Sequence[Fraction]) -> Iterator[Score]:
        """Take the next frames, and yield the score of each part that is complete with them.

        Args:
            frames: (n, 3, H, W) in [-1, 1].
            seconds: When each is shown.
        """
        blueness = (frames * torch.tensor(_BLUENESS).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) * 127.5
        if self._shrunk < 1:
            blueness = F.interpolate(blueness, size=self._size, mode="bilinear", antialias=True)
        for picture, time in zip(blueness[:, 0], seconds, strict=True):
            step = math.floor(time / HALF_PERIOD * _STARTS)
            if step // _PART > self._part:
                yield from self._scored()
                self._part = step // _PART
            self._sums[step % _PART] += picture
            self._counts[step % _PART] += 1
            self._end = float(time)

    def finish(self) -> Iterator[Score]:
        """Yield the score of the part that was begun last, and of the whole video if it has several."""
        yield from self._scored()
        if self._parts > 1:
            yield self._best(self._total, 0)

    def _nothing(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(_PART, *self._size), torch.zeros(_PART)

    def _scored(self) -> Iterator[Score]:
        """Score what was gathered, and add it to what is known of the whole video."""
        used = int(self._counts.nonzero().max()) + 1 if self._counts.any() else 0
        if used:
            fields = [
                self._alternating(start, used, first)
                for first in self._first_units()
                for start in range(_STARTS)
            ]
            yield self._best(fields, self._part)
            self._total = (
                fields if not self._total else [_sum(*both) for both in zip(self._total, fields, strict=True)]
            )
            self._parts += 1
        self._sums, self._counts = self._nothing()

    def _first_units(self) -> list[float]:
        """Return the sizes, half an octave apart, at which pictures are kept."""
        count = math.floor(2 * math.log2(self._units[-1] / self._units[0])) + 1
        return [self._units[0] * 2 ** (number / 2) for number in range(count)]

    def _alternating(self, start: int, used: int, unit: float) -> Fields:
        """Return what changes its sign every half period, at one unit a pixel."""
        slots = max(used - start, 0) // _STARTS
        end = start + slots * _STARTS
        counts = self._counts[start:end].view(-1, _STARTS).sum(dim=1)
        height, width = (max(round(length / unit), 1) for length in self._size)
        if slots < 3:
            return Fields(unit, torch.zeros(height, width))
        sums = self._sums[start:end].view(slots, _STARTS, *self._size).sum(dim=1)
        means = sums / counts.clamp(min=1).view(-1, 1, 1)
        small = F.interpolate(means[:, None], size=(height, width), mode="bilinear", antialias=True)
        change = small[1:-1] - (small[:-2] + small[2:]) / 2
        change = change - _smooth(change, 4)
        # Where something moves, differences are large and tell nothing.
        change = change / (_smooth(change.square(), 4) + _NOISE_LEVELS**2).sqrt()
        complete = (counts[:-2] > 0) & (counts[1:-1] > 0) & (counts[2:] > 0)
        signs = 1.0 - 2.0 * (torch.arange(1, slots - 1) % 2)
        return Fields(unit, (change[:, 0] * (signs * complete).view(-1, 1, 1)).sum(dim=0))

    def _best(self, fields: Sequence[Fields], part: int) -> Score:
        """Return the best score; coarse patterns come first, which take less time, until one is found."""
        best = 0.0, 0.0
        for unit in reversed(self._units):
            for field in fields:
                if field.unit <= unit < field.unit * 2**0.5:
                    best = max(best, (_score(field.picture, unit / field.unit), unit / self._shrunk))
            if best[0] >= THRESHOLD:
                break
        seconds = float(HALF_PERIOD / _STARTS * _PART * part)
        return Score(*best, seconds, self._end)


class Fields(NamedTuple):
    """What alternates in a video at one start of the alternation.

    Attributes:
        unit: Pixels of the frames that became one of the picture's.
        picture: (H, W).
    """

    unit: float
    picture: Tensor


def _sum(one: Fields, other: Fields) -> Fields:
    return Fields(one.unit, one.picture + other.picture)


def _score(picture: Tensor, shrink: float) -> float:
    """Return the highest score of a picture in which a unit is `shrink` pixels: over windows and places."""
    size = [round(length / shrink) for length in picture.shape]
    if min(size) < _WINDOWS[0][0] * _BLOCK:
        return 0.0
    small = F.interpolate(picture[None, None], size=size, mode="bicubic", antialias=True, align_corners=False)
    small = small - _smooth(small, 4)
    power = _smooth(small.square(), 6)
    small = small / (power + 0.1 * power.mean() + 1e-12).sqrt()
    rows, columns = (math.ceil(length / _BLOCK) for length in size)
    padded = F.pad(small, (0, columns * _BLOCK - size[1], 0, rows * _BLOCK - size[0]))[0, 0]
    # (rows, columns, K), summed over all blocks above and to the left.
    sums = F.pad(_block_waves(padded, rows, columns).cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0))
    best = 0.0
    for high, wide, down, across in _WINDOWS:
        high, wide = min(high, rows), min(wide, columns)
        inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
        best = max(best, float(_correlation(inside[::down, ::across]).max()))
    return best


def _block_waves(picture: Tensor, rows: int, columns: int) -> Tensor:
    """Return the pattern's waves in each block, (rows, columns, K) complex, with phases of the whole."""
    down, across = waves()
    blocks = picture.view(rows, _BLOCK, columns, _BLOCK).permute(0, 2, 1, 3).to(torch.complex64)
    inside = np.arange(_BLOCK) + 0.5
    spectrum = _turns(np.fft.fftfreq(TILE, 1 / TILE), inside)
    found = (spectrum @ blocks @ _turns(np.arange(TILE // 2), inside).T)[..., down, across]
    shift_down, shift_across = (
        _turns(repeats, np.arange(count) * _BLOCK).T for repeats, count in ((down, rows), (across, columns))
    )
    shifted: Tensor = found * shift_down[:, None] * shift_across
    return shifted


def _turns(repeats: np.ndarray, places: np.ndarray) -> Tensor:
    """Return exp(-2πi k x / TILE) for k of `repeats` (a) and x of `places` (b): (a, b)."""
    return torch.from_numpy(np.exp(-2j * math.pi / TILE * np.outer(repeats, places)).astype(np.complex64))


def _correlation(found: Tensor) -> Tensor:
    """Return scores of waves (…, K) for every place of the pattern, (…, TILE, TILE).

    For waves with lengths w and phases φ against the pattern's θ it is Σ w cos(φ - θ + shift) divided by
    √(Σ w² / 2), its standard deviation for random θ.
    """
    down, across = waves()
    expected = torch.from_numpy(np.exp(-1j * phases()).astype(np.complex64))
    spectrum = torch.zeros(*found.shape[:-1], TILE, TILE // 2 + 1, dtype=torch.complex64)
    # The transform to real numbers counts every wave twice but those that only go down.
    spectrum[..., down, across] = found * expected * torch.from_numpy(np.where(across == 0, 1.0, 0.5)).float()
    sums = torch.fft.irfft2(spectrum, s=(TILE, TILE), norm="forward")
    deviation = found.abs().square().sum(dim=-1).div(2).sqrt().clamp(min=1e-9)
    scores: Tensor = sums.abs() / deviation[..., None, None]
    return scores


def _smooth(pictures: Tensor, cell: int) -> Tensor:
    """Blur pictures (n, 1, H, W) nearly by a Gaussian whose standard deviation is the side of a cell."""
    height, width = pictures.shape[-2:]
    cells = F.avg_pool2d(pictures, cell, ceil_mode=True, count_include_pad=False)
    cells = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    size = [length * cell for length in cells.shape[-2:]]
    return F.interpolate(cells, size=size, mode="bilinear")[..., :height, :width]
