"""Clips as raw bytes in a file, read and written a few frames at a time: nothing of them stays in memory."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from keyface.pictures import from_uint8, to_uint8


class RawFrames:
    """A file of frames (T, 3, H, W), one byte a value; a `FrameStream`.

    Args:
        path: The file.
        length: T.
        size: H and W.
    """

    def __init__(self, path: Path, length: int, size: int) -> None:
        self.path, self.length = path, length
        self.height = self.width = size

    def __len__(self) -> int:
        return self.length

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield frames in order, (n, 3, H, W) in [-1, 1] with n ≤ `size`."""
        for start in range(0, self.length, size):
            yield self.read(start, min(size, self.length - start))

    def read(self, first: int = 0, count: int | None = None) -> Tensor:
        """Return `count` frames from number `first` on, all if not given."""
        count = self.length - first if count is None else count
        values = 3 * self.height * self.width
        found = np.fromfile(self.path, np.uint8, count * values, offset=first * values)
        return from_uint8(torch.from_numpy(found).reshape(count, 3, self.height, self.width))


class RawSink:
    """Write frames in [-1, 1] to a file; a context manager.

    Args:
        path: The file; None drops the frames.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("wb") if path is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, frames: Tensor) -> None:
        """Append frames (n, 3, H, W), which can be read from the file from then on."""
        if self._file is not None:
            self._file.write(to_uint8(frames).numpy().tobytes())
            self._file.flush()


class Pattern:
    """A smooth pattern that moves, made as it is read: speed does not depend on what a clip shows.

    Args:
        length: T.
        size: H and W.
    """

    def __init__(self, length: int, size: int) -> None:
        self.length = length
        self.height = self.width = size

    def __len__(self) -> int:
        return self.length

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield frames in order, (n, 3, H, W) in [-1, 1] with n ≤ `size`."""
        along = torch.linspace(0.0, 12.0, self.width)
        for start in range(0, self.length, size):
            moved = 0.1 * torch.arange(start, min(start + size, self.length))[:, None, None]
            wave = torch.sin(along[None, None] + moved) * torch.cos(along[None, :, None] - 0.5 * moved)
            yield torch.stack([wave, -wave, 0.5 * wave], dim=1)
