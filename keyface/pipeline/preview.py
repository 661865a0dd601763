"""Three keyframes, edited as the video would be: a picture to decide by before a long edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import ImageDraw
from torch import Tensor

from keyface.editing.frames import TensorFrames
from keyface.editing.keyframes import select_keyframes
from keyface.faces.crops import cut, square_corners
from keyface.pictures import draw_sheet, from_uint8, save_png, spread, to_image, to_uint8
from keyface.pipeline.additions import control_images
from keyface.pipeline.output.canvas import Painted, Strip, paint_frames
from keyface.pipeline.planning.face_clips import FIXED
from keyface.pipeline.planning.jobs import held_to, make_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from keyface.editing.editor import Progress
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.plan import Plan
    from keyface.pipeline.request.request import VideoRequest

KEYFRAMES = 3
_SHORTEST, _TALLEST = 192, 512
"""Pixels of a picture's rows."""


class Keyframes(NamedTuple):
    """Keyframes of a clip, edited.

    Attributes:
        numbers: Of the frames in the video.
        squares: (n, 4), the oriented square of each.
        painted: Before and after.
    """

    numbers: list[int]
    squares: Tensor
    painted: Painted


def preview_edit(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    plan: Plan,
    progress: Progress | None,
    say: Callable[[str], None],
) -> Path:
    """Edit three keyframes of the longest clip together, and draw them; see `FaceEditPipeline.preview`."""
    assert request.preview is not None
    numbers, squares, painted = edit_keyframes(pipe, request, plan, progress, say)
    say(_what_is_shown(request, plan, numbers))
    aspect, border = request.reader.pixel_aspect, request.framing.border
    side = min(max(round(float(squares[:, 2].max())), _SHORTEST), _TALLEST)
    before, after = (cut(each, squares, side, border, aspect) for each in (painted.before, painted.after))
    frames = _with_squares(painted.before, squares, side, aspect)
    return save_png(draw_sheet([("frame", frames), ("before", before), ("after", after)]), request.preview)


def edit_keyframes(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    plan: Plan,
    progress: Progress | None,
    say: Callable[[str], None],
) -> Keyframes:
    """Edit three of the keyframes that the edit of the longest clip would have, with joint attention."""
    longest = max(plan.clips, key=len)
    (job,) = make_jobs(pipe, request, replace(plan, clips=(longest,)), say)
    clip, settings, reader = job.clip, job.settings, request.reader
    keyframes = select_keyframes(len(clip), settings.interval, settings.seed)
    rows = [keyframes[index] for index in spread(len(keyframes), KEYFRAMES)]
    numbers = [clip.first + row for row in rows]
    frames = reader.frames(numbers)
    alone = replace(clip, first=0, squares=clip.squares[rows], presence=clip.presence[rows])
    crops = cut(
        frames, alone.squares, pipe.crop_side(request.framing), request.framing.border, reader.pixel_aspect
    )
    editor, stream = job.editor.changed(settings=replace(settings, interval=1)), TensorFrames(crops)
    control = None
    if request.control is not None:
        seen = crops
        if request.control_reader is not None:
            size, border = crops.shape[-1], request.framing.border
            seen = cut(
                request.control_reader.frames(numbers), alone.squares, size, border, reader.pixel_aspect
            )
        control = control_images(request.control, to_uint8(seen))
    with editor.prepare(
        stream, job.prompts, regions=held_to(pipe, clip, stream), progress=progress, control=control
    ) as edited:
        strip = Strip(alone, edited.layers())
        painted = paint_frames(frames, 0, [strip], settings.composition.mode, reader.pixel_aspect)
    return Keyframes(numbers, alone.squares, painted)


def _what_is_shown(request: VideoRequest, plan: Plan, numbers: Sequence[int]) -> str:
    """Return a line that says whose keyframes are on the picture, and what is not."""
    reader, longest = request.reader, max(plan.clips, key=len)
    origin = reader.timings[0].pts
    times = [float((reader.timings[number].pts - origin) * reader.time_base) for number in numbers]
    who = "the square" if longest.person == FIXED else f"person {longest.person}"
    others = len(plan.clips) - 1
    hidden = f"; {others} shorter clip{'s' if others > 1 else ''} not shown" if others else ""
    return f"preview: {who} at {', '.join(f'{time:.2f}' for time in times)} s{hidden}"


def _with_squares(frames: Tensor, squares: Tensor, tallest: int, aspect: Fraction) -> Tensor:
    """Draw the square of each frame on it, and make the frames at most so tall."""
    pictures = []
    for frame, corners in zip(frames, square_corners(squares, aspect), strict=True):
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
