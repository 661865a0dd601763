"""Only what the edit changed changes: the decoded edit is never pasted as it is.

With s the source frame, r its autoencoder round trip, e the decoded edit and d = e − r, a frame becomes

    s + M · d

where M in [0, 1] rises with the blurred magnitude of d (`change_mask`), is held to the edit's regions where
they are known, and is smooth in time (`TimeSmoother`). Where M is 0 the frame is the source, bit for bit.
Where d is large, what was there is gone, and its finest lines s − r go with it (`lost_detail`): otherwise the
outline of a hat would stay where the hat was.
Light and colour need no matching at the edge of M: nothing is added but d, which is about 0 there.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.editing.parts import MOST_REPLACED, Composition

REACH = 3.0
"""Standard deviations at which Gaussians are cut off: beyond, masks are exactly 0."""

FLOOR = 0.02
"""Of a blurred mask, taken off everywhere: the tails of blurs, which nobody sees, become exact zeros."""


class Decoded(NamedTuple):
    """What one frame is composed of, all of it on one device.

    Attributes:
        source: (3, H, W), the clip.
        kept: (3, H, W), its autoencoder round trip; not used with the mode `off`.
        edited: (3, H, W), the decoded edit.
        region: (1, H, W) in [0, 1], where the edit may change the frame; None where that is not known.
    """

    source: Tensor
    kept: Tensor
    edited: Tensor
    region: Tensor | None = None


class Layer(NamedTuple):
    """What an edit puts onto n frames of the clip, at the size that the model works at.

    Attributes:
        first: Number of the first frame.
        mask: M, (n, 1, H, W) in [0, 1].
        change: (n, 3, H, W), what is added to the source.
        edited: (n, 3, H, W), the source with the change, inside [-1, 1].
    """

    first: int
    mask: Tensor
    change: Tensor
    edited: Tensor

    def cpu(self) -> "Layer":
        """Return the layer on the CPU."""
        return Layer(self.first, self.mask.cpu(), self.change.cpu(), self.edited.cpu())


def compose(parts: Iterable[Iterable[Decoded]], settings: Composition) -> Iterator[Layer]:
    """Compose a clip, frame by frame: what a frame becomes does not depend on the parts that it comes in.

    Args:
        parts: The clip's frames in order, in parts of any length.
        settings: The mode and the mask.

    Yields:
        The frames in order, in layers of any length: they come as soon as the frames that their masks are
        averaged with are there.
    """
    first = 0
    smoother = TimeSmoother(settings.smoothing)
    for part in parts:
        ready = [done for each in part for done in smoother.add(each, _mask(each, settings))]
        if ready:
            yield _layer(first, ready, settings)
            first += len(ready)
    ready = list(smoother.finish())
    if ready:
        yield _layer(first, ready, settings)


def change_mask(change: Tensor, settings: Composition, region: Tensor | None = None) -> Tensor:
    """Return M of one frame, before it is smoothed in time: (1, H, W) in [0, 1].

    Args:
        change: d, (3, H, W); 2 is from black to white.
        settings: Thresholds, blurs and the margin of regions.
        region: (1, H, W) in [0, 1]; None holds M to no region.
    """
    side = min(change.shape[-2:])
    mask = ((_magnitude(change, settings) - settings.low) / (settings.high - settings.low)).clamp(0.0, 1.0)
    if region is not None:
        mask = mask * grow(region.float(), round(settings.margin * side))
    if settings.feather == 0.0:
        return mask
    return ((blur(mask, settings.feather * side) - FLOOR) / (1.0 - FLOOR)).clamp(0.0, 1.0)


def lost_detail(change: Tensor, settings: Composition) -> Tensor:
    """Return how much of one frame's own detail goes with what the edit replaced: (1, H, W) in [0, 1].

    Args:
        change: d, (3, H, W); 2 is from black to white.
        settings: `replaced` and the blur.
    """
    if settings.replaced == MOST_REPLACED:
        return torch.zeros_like(change[:1])
    return (2.0 * _magnitude(change, settings) / settings.replaced - 1.0).clamp(0.0, 1.0)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (1, H, W) with a Gaussian that is cut off at `REACH` and normalized anew at the borders.

    Args:
        image: (1, H, W) float32.
        sigma: Standard deviation in pixels; 0 returns the image.
    """
    if sigma == 0.0:
        return image
    rows, columns = (_gaussian_matrix(length, sigma, image.device) for length in image.shape[-2:])
    return (rows @ image.to(rows.dtype) @ columns.T).float()


def grow(region: Tensor, radius: int) -> Tensor:
    """Grow a region (1, H, W) in [0, 1] by `radius` pixels in every direction (a square neighbourhood)."""
    if radius == 0:
        return region
    size = 2 * radius + 1
    rows = F.max_pool2d(region, (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, size), stride=1, padding=(0, radius))


class TimeSmoother:
    """Average masks over time with a Gaussian, as symmetric behind as ahead (zero phase), while they come.

    At the clip's ends the weights of the frames that are there are normalized. In a crop that follows the
    face the face stands still, so that the masks need not be moved along with it.

    Args:
        sigma: Standard deviation in frames; 0 averages nothing.
    """

    def __init__(self, sigma: float) -> None:
        self.ahead = math.ceil(REACH * sigma)
        self.weights = [
            math.exp(-0.5 * (step / sigma) ** 2) if sigma else 1.0 for step in range(self.ahead + 1)
        ]
        self._waiting: deque[Decoded] = deque()
        self._masks: deque[Tensor] = deque()
        self._oldest = self._next = 0

    def add(self, frame: Decoded, mask: Tensor) -> Iterator[tuple[Decoded, Tensor]]:
        """Take the next frame, and yield the frames that need no more of those that follow, with masks."""
        self._waiting.append(frame)
        self._masks.append(mask)
        if len(self._waiting) > self.ahead:
            yield self._smoothed()

    def finish(self) -> Iterator[tuple[Decoded, Tensor]]:
        """Yield the clip's last frames with their masks."""
        while self._waiting:
            yield self._smoothed()

    def _smoothed(self) -> tuple[Decoded, Tensor]:
        """Return the first frame that waits, with the average of the masks around it."""
        total, weighted = 0.0, torch.zeros_like(self._masks[0])
        for index, mask in enumerate(self._masks, start=self._oldest):
            distance = abs(index - self._next)
            if distance <= self.ahead:
                total += self.weights[distance]
                weighted += self.weights[distance] * mask
        self._next += 1
        if self._next - self._oldest > self.ahead:
            self._masks.popleft()
            self._oldest += 1
        return self._waiting.popleft(), (weighted / total).clamp(max=1.0)


def _magnitude(change: Tensor, settings: Composition) -> Tensor:
    """Return |d| of the channel that changes most, blurred: (1, H, W)."""
    return blur(change.abs().amax(dim=0, keepdim=True), settings.blur * min(change.shape[-2:]))


def _mask(frame: Decoded, settings: Composition) -> Tensor:
    if settings.mode == "off":
        return torch.ones_like(frame.source[:1])
    return change_mask(frame.edited - frame.kept, settings, frame.region)


def _layer(first: int, ready: Sequence[tuple[Decoded, Tensor]], settings: Composition) -> Layer:
    frames = [frame for frame, _ in ready]
    masks = torch.stack([mask for _, mask in ready])
    source, edited = (torch.stack([getattr(each, name) for each in frames]) for name in ("source", "edited"))
    if settings.mode == "off":
        return Layer(first, masks, edited - source, edited)
    before = source
    if settings.mode == "detail":
        kept = torch.stack([each.kept for each in frames])
        gone = torch.stack([lost_detail(each.edited - each.kept, settings) for each in frames])
        before = kept + gone * (source - kept)
    change = masks * (edited - before)
    return Layer(first, masks, change, within_range(source + change, source))


def within_range(frames: Tensor, source: Tensor) -> Tensor:
    """Clamp composed frames to [-1, 1], or to the source's own value where that lies outside."""
    return torch.clamp(frames, source.clamp(max=-1.0), source.clamp(min=1.0))


@lru_cache(maxsize=8)
def _gaussian_matrix(length: int, sigma: float, device: torch.device) -> Tensor:
    """Return weights (length, length), each row a Gaussian of sum 1: `matrix @ x` blurs the rows of x."""
    place = torch.arange(length, dtype=torch.float64)
    distance = place[:, None] - place[None, :]
    weights = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance.abs() <= REACH * sigma)
    weights /= weights.sum(dim=1, keepdim=True)
    return weights.to(device, torch.float64 if device.type == "cuda" else torch.float32)  # TF32 would round
