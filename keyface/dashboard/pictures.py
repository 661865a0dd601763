"""Frames of a run's edits as small pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image, Resampling

from keyface.dashboard.charts import number
from keyface.dashboard.runs import Edit, Run
from keyface.pictures import spread, to_image
from keyface.video import VideoReader

SIDE = 192
"""Pixels; larger pictures are made smaller, so that the page stays one that can be sent."""

LARGEST_VIDEO = 2**20
"""Bytes; larger ones are named and not put into the page."""

SHOWN = ("edit_success", "identity_distance")
"""Measures below each picture."""


@dataclass(frozen=True)
class Cell:
    """One edit of a clip.

    Attributes:
        step: How many steps had been taken.
        uri: Its middle frame.
        measures: Short name and value as text.
    """

    step: int
    uri: str
    measures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """A clip through the steps of one run.

    Attributes:
        run: Number of the run, which is its colour.
        cells: From the first step to the last.
        video: Of the last step, source and edit side by side; empty where it is too large.
        path: Of that video.
    """

    run: int
    cells: tuple[Cell, ...]
    video: str
    path: str


@dataclass(frozen=True)
class Grid:
    """A clip as it is, and through the steps of all runs.

    Attributes:
        name: Of the clip.
        categories: What was asked for.
        source: Prompt before.
        target: Prompt after.
        before: The middle frame of the clip as it is.
        rows: One a run that edited it.
    """

    name: str
    categories: tuple[str, ...]
    source: str
    target: str
    before: str
    rows: tuple[Row, ...]


def grids(runs: Sequence[Run], columns: int) -> list[Grid]:
    """Return a grid for each clip that the runs edited, as far as they are those of the newest run.

    Args:
        runs: From the first to the newest.
        columns: At most so many steps of each run, the first and the last among them.

    Raises:
        ValueError: A video is damaged.
    """
    newest = next((run for run in reversed(runs) if run.edits), None)
    if newest is None:
        return []
    found = []
    for clip in newest.edits[max(newest.edits)]:
        rows = [row for place, run in enumerate(runs) if (row := _row(place, run, clip.name, columns))]
        before, _ = middle_frames(clip)
        found.append(
            Grid(clip.name, clip.categories, clip.source, clip.target, data_uri(before), tuple(rows))
        )
    return found


def _row(place: int, run: Run, name: str, columns: int) -> Row | None:
    edits = {step: clip for step, clips in run.edits.items() for clip in clips if clip.name == name}
    if not edits:
        return None
    steps = list(edits)
    cells = [
        Cell(step, data_uri(middle_frames(edits[step])[1]), figures(edits[step].measures))
        for step in (steps[index] for index in spread(len(steps), columns))
    ]
    video = edits[steps[-1]].video
    small = video.stat().st_size <= LARGEST_VIDEO
    uri = f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}" if small else ""
    return Row(place, tuple(cells), uri, str(video))


def middle_frames(clip: Edit) -> tuple[Image, Image]:
    """Return the middle frame of a clip before and after the edit.

    Raises:
        ValueError: The video is damaged.
    """
    reader = VideoReader(clip.video)
    (frame,) = reader.frames([len(reader) // 2])
    before, after = torch.tensor_split(frame, 2, dim=-1)
    return to_image(before), to_image(after)


def figures(measures: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Return what is said below a picture, as far as it was measured."""
    return tuple(
        (name.rpartition("_")[2], number(measures[name])) for name in SHOWN if measures.get(name) is not None
    )


def data_uri(picture: Image) -> str:
    """Return a picture as a data URI, made smaller where it is large."""
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE), Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
