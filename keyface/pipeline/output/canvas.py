"""Edits of several clips put onto the frames of the video, in the order of the video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from keyface.editing.composition import Layer
from keyface.faces.crops import put_back, square_corners

if TYPE_CHECKING:
    from keyface.pipeline.planning.face_clips import FaceClip
    from keyface.video import VideoReader

BORDER = 0.06
"""Share of the square's side over which an edit fades out towards the square's edges."""


class Painted(NamedTuple):
    """Frames of the video before and after.

    Attributes:
        before: (n, 3, H, W) in [-1, 1].
        after: Likewise; equal to `before` where no mask is.
        mask: (n, 1, H, W) in [0, 1].
    """

    before: Tensor
    after: Tensor
    mask: Tensor


class Strip:
    """The layers of one clip, taken in parts of any length.

    Args:
        clip: Says where they belong.
        layers: Of all its frames in order.
    """

    def __init__(self, clip: FaceClip, layers: Iterator[Layer]) -> None:
        self.clip = clip
        self._layers = layers
        self._left: list[Layer] = []

    def take(self, count: int) -> Layer:
        """Return the layer of the next so many frames."""
        parts: list[Layer] = []
        missing = count
        while missing:
            layer = self._left.pop() if self._left else next(self._layers)
            parts.append(_slice(layer, 0, missing))
            missing -= len(parts[-1].mask)
            if len(layer.mask) > len(parts[-1].mask):
                self._left.append(_slice(layer, len(parts[-1].mask), None))
        tensors = (torch.cat(each) for each in zip(*(part[1:] for part in parts), strict=True))
        return Layer(parts[0].first, *tensors)


def paint(
    reader: VideoReader, strips: Sequence[Strip], mode: str, chunk: int | None = None
) -> Iterator[Painted]:
    """Yield the video's frames with the edits on them; frames that no clip covers pass through untouched.

    Args:
        reader: The video.
        strips: Of all clips.
        mode: How they are composed, `Composition.mode`.
        chunk: Frames at a time; None takes what memory allows.
    """
    first = 0
    for frames in reader.chunks(reader.at_once() if chunk is None else chunk):
        yield paint_frames(frames, first, strips, mode, reader.pixel_aspect)
        first += len(frames)


def paint_frames(
    frames: Tensor, first: int, strips: Sequence[Strip], mode: str, aspect: Fraction | float = 1
) -> Painted:
    """Put the edits on the next frames (n, 3, H, W) of a video; where people overlap, changes add up.

    Args:
        frames: Consecutive frames of the video.
        first: Number of the first of them.
        strips: Of all clips; what was taken of them so far ends before `first`.
        mode: How they are composed, `Composition.mode`.
        aspect: Width of a pixel in its heights.
    """
    height, width = frames.shape[-2:]
    stop = first + len(frames)
    after = frames.clone()
    whole = torch.zeros(len(frames), 1, height, width)
    for strip in strips:
        rows = strip.clip.within(first, stop)
        if rows.start >= rows.stop:
            continue
        layer, squares = strip.take(rows.stop - rows.start), strip.clip.squares[rows]
        shown = strip.clip.presence[rows].view(-1, 1, 1, 1) * feather(
            squares, layer.mask.shape[-1], height, width * float(aspect)
        )
        on = slice(rows.start + strip.clip.first - first, rows.stop + strip.clip.first - first)
        if mode == "detail":
            put_back(layer.change * shown, squares, after[on], aspect)
        else:
            # M · e, of which the layer has M · (e - s) and, but for clamping, s.
            pasted = layer.mask * (layer.edited - layer.change) + layer.change
            cover, edited = torch.zeros_like(whole[on]), torch.zeros_like(after[on])
            put_back(layer.mask * shown, squares, cover, aspect)
            put_back(pasted * shown, squares, edited, aspect)
            after[on] = after[on] * (1 - cover) + edited
        put_back(layer.mask * shown, squares, whole[on], aspect)
    return Painted(frames, after.clamp_(-1, 1), whole.clamp_(0, 1))


def feather(squares: Tensor, size: int, height: float, width: float) -> Tensor:
    """Return how much of an edit shows in each pixel of its crop, (n, 1, size, size) in [0, 1].

    It rises from the square's edges inwards over `BORDER` of its side, but for edges that lie wholly on the
    frame's border or beyond it, where there is nothing to blend with.

    Args:
        squares: (n, 4), oriented.
        size: Side of the crops in pixels.
        height: Of the frames.
        width: Of the frames, in heights of a pixel.
    """
    ramp = max(round(BORDER * size), 1)
    inside = torch.arange(size, dtype=torch.float32).add(1).div(ramp + 1).clamp(max=1)
    top, right, bottom, left = (~beyond for beyond in _sides_beyond(squares, height, width))

    def rising(edge: Tensor, values: Tensor) -> Tensor:
        return torch.where(edge[:, None], values, torch.ones_like(values))

    across = rising(left, inside) * rising(right, inside.flip(0))
    down = rising(top, inside) * rising(bottom, inside.flip(0))
    return (down[:, :, None] * across[:, None, :])[:, None]


def _sides_beyond(squares: Tensor, height: float, width: float, slack: float = 1.0) -> list[Tensor]:
    """Tell which sides of squares, from the upper clockwise, lie on or beyond a border of the frame."""
    corners = square_corners(squares)  # (n, 4, 2): upper left, upper right, lower right, lower left
    borders = torch.stack(
        [
            corners[..., 0] <= slack,
            corners[..., 0] >= width - slack,
            corners[..., 1] <= slack,
            corners[..., 1] >= height - slack,
        ],
        dim=-1,
    )
    return [(borders[:, side] & borders[:, (side + 1) % 4]).any(dim=-1) for side in range(4)]


def _slice(layer: Layer, start: int, stop: int | None) -> Layer:
    return Layer(layer.first + start, *(each[start:stop] for each in layer[1:]))
