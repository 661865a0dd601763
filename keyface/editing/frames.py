"""Where frames come from: streams that are read in chunks, as often as needed."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class FrameStream(Protocol):
    """A clip that can be read again and again without being in memory."""

    @property
    def height(self) -> int:
        """Height in pixels."""

    @property
    def width(self) -> int:
        """Width in pixels."""

    def __len__(self) -> int: ...

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield frames in order, (n, 3, H, W) in [-1, 1] with n ≤ `size`."""


class MaskStream(Protocol):
    """Masks of a clip's frames, read in chunks as its frames are."""

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield masks in order, (n, 1, H, W) in [0, 1] or bool, of the same frames as the clip's chunks."""


class TensorMasks:
    """Masks that are in memory already: (T, 1, H, W) in [0, 1] or bool."""

    def __init__(self, masks: Tensor) -> None:
        if masks.ndim != 4 or masks.shape[1] != 1:
            raise ValueError(f"masks have the shape {tuple(masks.shape)}; (T, 1, H, W) is needed")
        self.masks = masks

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield masks in order, as views."""
        yield from torch.split(self.masks, size)


class TensorFrames:
    """Frames that are in memory already: (T, 3, H, W) in [-1, 1]."""

    def __init__(self, frames: Tensor) -> None:
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"frames have the shape {tuple(frames.shape)}; (T, 3, H, W) is needed")
        self.frames = frames

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.frames.shape[2]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.frames.shape[3]

    def __len__(self) -> int:
        return self.frames.shape[0]

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield frames in order, as views."""
        yield from torch.split(self.frames, size)
