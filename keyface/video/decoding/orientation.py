"""How decoded pictures are turned and mirrored to be upright."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

_SLIGHT = 0.01
"""Entries of a matrix that are this small beside its largest count as 0."""


@dataclass(frozen=True)
class Orientation:
    """Quarter turns and mirrorings: first transposed, then turned over.

    Attributes:
        transposed: Whether rows become columns.
        upside_down: Whether the order of the rows is reversed, after that.
        mirrored: Whether the order of the columns is reversed, after that.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Self | None:
        """Return what the display matrix of a decoded frame asks for; None where that is something else."""
        # PyAV types it by the one kind of data that it gives a class of its own.
        data = cast("Mapping[Type, Buffer]", frame.side_data).get(Type.DISPLAYMATRIX)
        return cls() if data is None else cls.from_matrix(np.frombuffer(bytes(data), np.int32).tolist())

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Self | None:
        """Return what a display matrix asks for; None where that is no turn by quarters.

        Args:
            matrix: Nine numbers a b u, c d v, x y w. A point (p, q), q downwards, is shown at
                (a p + c q + x, b p + d q + y). Sizes and shifts are ignored, as FFmpeg does.
        """
        (a, b), (c, d) = matrix[0:2], matrix[3:5]
        slight = _SLIGHT * max(abs(value) for value in (a, b, c, d))
        if abs(b) <= slight and abs(c) <= slight and a and d:
            return cls(False, upside_down=d < 0, mirrored=a < 0)
        if abs(a) <= slight and abs(d) <= slight and b and c:
            return cls(True, upside_down=b < 0, mirrored=c < 0)
        return None

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture (H, W, C), upright; a view of it."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
