"""A few crops of many faces, cut out of a video that is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from keyface.faces.crops import Border, cut

if TYPE_CHECKING:
    from keyface.video import VideoReader

Place = tuple[int, Tensor]
"""Number of a frame, and an oriented square (4,) in it."""


def crops_at(
    reader: VideoReader, places: Sequence[Sequence[Place]], size: int, border: Border = "mirror"
) -> list[Tensor]:
    """Cut squares out of frames; one frame is held at a time, however many are asked for.

    Args:
        reader: The video.
        places: Some squares of each face, by ascending frames.
        size: Side of the crops in pixels.
        border: What lies beyond the frame.

    Returns:
        (n, 3, size, size) in [-1, 1] of each face.
    """
    wanted: dict[int, list[tuple[int, Tensor]]] = {}
    for face, each in enumerate(places):
        for frame, square in each:
            wanted.setdefault(frame, []).append((face, square))
    crops: list[list[Tensor]] = [[] for _ in places]
    for frame, image in reader.chosen(wanted):
        for face, square in wanted[frame]:
            crops[face].append(cut(image[None], square[None], size, border, reader.pixel_aspect))
    return [torch.cat(each) for each in crops]
