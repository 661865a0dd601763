"""Whether and how an edit's output gets the watermark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from keyface.marks.watermark import LEAST_FPS, LEAST_SECONDS, LEAST_SIDE, VERSION, Watermark, unit_for
from keyface.video.formats import is_still

if TYPE_CHECKING:
    from keyface.pipeline.output.canvas import Painted
    from keyface.pipeline.planning.face_clips import FaceClip
    from keyface.pipeline.request.request import VideoRequest


@dataclass(frozen=True)
class Marking:
    """The watermark of one output, or why it gets none.

    Attributes:
        watermark: None where none is written.
        reason: Why not, in words.
    """

    watermark: Watermark | None
    reason: str | None = None

    @classmethod
    def of(cls, request: VideoRequest, clips: Sequence[FaceClip]) -> Marking:
        """Decide it: none is written that could not be found.

        Args:
            request: What the user asked for.
            clips: What is edited.
        """
        if request.no_watermark is not None:
            return cls(None, f"switched off: {request.no_watermark.strip()}")
        if is_still(request.video):
            return cls(None, "a picture: the watermark alternates in time")
        reader = request.reader
        seconds = max(len(clip) for clip in clips) / float(reader.fps)
        if seconds < LEAST_SECONDS or reader.fps < LEAST_FPS:
            given = f"{seconds:.2g} s at {float(reader.fps):.4g} frames a second"
            return cls(None, f"{given}; it takes {LEAST_SECONDS:g} s at {LEAST_FPS} to be found")
        side = float(torch.cat([clip.squares[:, 2] for clip in clips]).median())
        if side < LEAST_SIDE:
            return cls(None, f"a crop of {side:.0f} pixels; it takes {LEAST_SIDE} to be found")
        unit = unit_for(side, reader.height, reader.width)
        return cls(Watermark(reader.height, reader.width, unit))

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the record says of it."""
        if self.watermark is None:
            return {"written": False, "reason": self.reason}
        return {"written": True, "version": VERSION, "unit": round(self.watermark.unit, 3)}

    def on(self, painted: Painted, request: VideoRequest, first: int) -> Tensor:
        """Return edited frames, (n, 3, H, W) in [-1, 1], with the watermark inside their masks.

        Args:
            painted: Of consecutive frames.
            request: Whose video has their times.
            first: Number of the first of them.
        """
        if self.watermark is None:
            return painted.after
        reader = request.reader
        timings = reader.timings[first : first + len(painted.after)]
        begin = reader.timings[0].pts
        seconds = [(each.pts - begin) * reader.time_base for each in timings]
        return self.watermark.write(painted.after, painted.mask, seconds)
