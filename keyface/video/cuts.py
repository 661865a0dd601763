"""Where one shot ends and the next begins, by PySceneDetect's detector of content."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from keyface.opencv import load_opencv
from keyface.pictures import to_uint8

DELAY = 4
"""Frames after which it is known whether a frame began a shot."""

_SIDE = 256
"""Longer side in pixels of the pictures that are compared."""

_THRESHOLD = 27.0
"""PySceneDetect's own: mean change of hue, saturation and lightness, of 255."""


class CutDetector:
    """Tells which frames are the first of a shot; keeps a few small pictures in memory.

    A flash is no cut: the picture before it comes back. Fades and dissolves are not found, since they change
    little from frame to frame.
    """

    def __init__(self) -> None:
        self._detector = _Content()
        self._recent: list[np.ndarray] = []
        self._suspects: list[int] = []
        self._frame = 0

    def add(self, frames: Tensor) -> list[int]:
        """Take in the next frames (n, 3, H, W) in [-1, 1].

        Returns:
            Numbers of frames that begin a shot, of those that came at least `DELAY` frames ago.
        """
        found = []
        for picture in _small(frames):
            if self._detector.changed(picture):
                self._suspects.append(self._frame)
            self._recent = [*self._recent, picture][-DELAY - 2 :]
            self._frame += 1
            found += self._decide(self._frame - DELAY)
        return found

    def finish(self) -> list[int]:
        """Return what is only known at the end."""
        return self._decide(self._frame)

    def _decide(self, until: int) -> list[int]:
        """Decide of the suspects before a frame."""
        found = []
        while self._suspects and self._suspects[0] < until:
            suspect = self._suspects.pop(0)
            oldest = self._frame - len(self._recent)
            before = self._recent[suspect - 1 - oldest]
            later = range(suspect + 1, self._frame)
            back = next((each for each in later if not _differ(before, self._recent[each - oldest])), None)
            if back is None:
                found.append(suspect)
            else:
                self._suspects = [each for each in self._suspects if each > back]
        return found


class _Content:
    """PySceneDetect's detector of content, a frame at a time."""

    def __init__(self) -> None:
        load_opencv("finding cuts")  # PySceneDetect needs it, and says less where it does not load
        from scenedetect import ContentDetector, FrameTimecode

        self._detector, self._time = ContentDetector(_THRESHOLD, min_scene_len=0), FrameTimecode
        self._frame = 0

    def changed(self, picture: np.ndarray) -> bool:
        """Tell whether the next picture differs from the one before as shots do."""
        time = self._time(self._frame, fps=25.0)  # it only counts frames
        self._frame += 1
        return bool(self._detector.process_frame(time, picture))


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    detector = _Content()
    detector.changed(first)
    return detector.changed(second)


def _small(frames: Tensor) -> np.ndarray:
    """Return (n, h, w, 3) uint8, blue first, as OpenCV has it."""
    scale = min(1.0, _SIDE / max(frames.shape[-2:]))
    if scale < 1:
        frames = F.interpolate(frames, scale_factor=scale, mode="area")
    return np.ascontiguousarray(to_uint8(frames).permute(0, 2, 3, 1).flip(-1).numpy())
