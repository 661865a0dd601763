"""Three keyframes, edited as the video would be: a picture to decide by before a long edit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from PIL import ImageDraw
from torch import Tensor

from keyface.editing.frames import TensorFrames
from keyface.editing.keyframes import select_keyframes
from keyface.faces.crops import cut, square_corners
from keyface.pictures import draw_sheet, from_uint8, save_png, spread, to_image
from keyface.pipeline.canvas import Strip, paint_frames
from keyface.pipeline.video import make_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from keyface.editing.editor import Progress
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.plan import Plan
    from keyface.pipeline.request import VideoRequest

KEYFRAMES = 3
_TALLEST = 512
"""Pixels of a picture's rows."""


def preview_edit(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    plan: Plan,
    progress: Progress | None,
    say: Callable[[str], None],
) -> Path:
    """Edit three keyframes of the longest clip together, and draw them; see `FaceEditPipeline.preview`."""
    assert request.preview is not None
    longest = max(plan.clips, key=len)
    (job,) = make_jobs(pipe, request, replace(plan, clips=(longest,)), say)
    clip, settings = job.clip, job.settings
    keyframes = select_keyframes(len(clip), settings.interval, settings.seed)
    rows = [keyframes[index] for index in spread(len(keyframes), KEYFRAMES)]
    reader = request.reader
    frames = reader.frames([clip.first + row for row in rows])
    alone = replace(clip, first=0, squares=clip.squares[rows], presence=clip.presence[rows])
    crops = cut(frames, alone.squares, pipe.backbone.image_size, pixel_aspect=reader.pixel_aspect)
    editor = pipe.editor(replace(settings, interval=1))
    with editor.prepare(TensorFrames(crops), job.prompts, progress=progress) as edited:
        strip = Strip(alone, edited.layers())
        painted = paint_frames(frames, 0, [strip], settings.composition.mode, reader.pixel_aspect)
    side = min(_TALLEST, round(float(alone.squares[:, 2].max())))
    shown = [
        cut(each, alone.squares, side, pixel_aspect=reader.pixel_aspect)
        for each in (painted.before, painted.after)
    ]
    sheet = draw_sheet(
        [
            ("frame", _with_squares(painted.before, alone.squares, side)),
            ("before", shown[0]),
            ("after", shown[1]),
        ]
    )
    return save_png(sheet, request.preview)


def _with_squares(frames: Tensor, squares: Tensor, tallest: int) -> Tensor:
    """Draw the square of each frame on it, and make the frames at most so tall."""
    pictures = []
    for frame, corners in zip(frames, square_corners(squares), strict=True):
        picture = to_image(frame)
        points = [(float(x), float(y)) for x, y in corners]
        ImageDraw.Draw(picture).line(
            [*points, points[0]], fill=(255, 210, 0), width=max(picture.height // 180, 1)
        )
        scale = min(tallest / picture.height, 1.0)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        pictures.append(from_uint8(pixels.view(picture.height, picture.width, 3).permute(2, 0, 1)))
    return torch.stack(pictures)
