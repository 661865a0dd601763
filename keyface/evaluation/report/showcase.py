"""Clips to look at: the original and every row's version of it, side by side in one video."""

import base64
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL.Image import Image

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.pictures import draw_sheet
from keyface.video import write_clip

_LARGEST = 256
"""Sides above this are halved, so that the report stays a page and no archive."""


class Shown(NamedTuple):
    """One video of the report.

    Attributes:
        title: The clip and what was asked for.
        panels: What is shown from left to right.
        uri: The mp4 as a data URI.
    """

    title: str
    panels: tuple[str, ...]
    uri: str


def side_by_side(clips: ClipSet, rows: Sequence[Candidate], number: int) -> list[Shown]:
    """Make videos of the first clips, one of each category before a second of any.

    Args:
        clips: The clip set.
        rows: Shown from left to right behind the original; rows that lack a clip are left out of its video.
        number: How many videos.
    """
    return [_shown(clips, clip, rows) for clip in _varied(clips.edited)[:number]]


def middle_frames(clips: ClipSet, rows: Sequence[Candidate], number: int) -> Image:
    """Draw the middle frame of the first clips in one picture: sources above, a row a row below.

    Args:
        clips: The clip set.
        rows: From above to below; a clip that any of them lacks is left out.
        number: How many clips, one of each category before a second of any.
    """
    shown = [clip for clip in _varied(clips.edited) if all(row.video_of(clip) for row in rows)][:number]
    frames = {"source": [clips.frames_of(clip) for clip in shown]}
    frames |= {row.name: [row.frames_of(clip) for clip in shown] for row in rows}
    return draw_sheet(
        [(name, torch.stack([each[len(each) // 2] for each in found])) for name, found in frames.items()]
    )


def _varied(edited: Sequence[ClipSpec]) -> list[ClipSpec]:
    """Return the clips with the first of each category before the second of any."""
    seen: dict[str | None, int] = {}
    turns = []
    for position, clip in enumerate(edited):
        turns.append((seen.setdefault(clip.category, 0), position, clip))
        seen[clip.category] += 1
    return [clip for _, _, clip in sorted(turns, key=lambda turn: turn[:2])]


def _shown(clips: ClipSet, clip: ClipSpec, rows: Sequence[Candidate]) -> Shown:
    having = [row for row in rows if row.video_of(clip) is not None]
    panels = torch.cat([clips.frames_of(clip), *(row.frames_of(clip) for row in having)], dim=-1)
    while panels.shape[-2] > _LARGEST:
        panels = F.avg_pool2d(panels, 2)
    # Browsers play 4:2:0 only, which has even sides.
    panels = panels[..., : panels.shape[-2] // 2 * 2, : panels.shape[-1] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shown.mp4")
        write_clip(path, panels, Fraction(clip.fps).limit_denominator(1001))
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    title = f"{clip.key}: {clip.category}"
    if clip.target is not None:
        title += f" — {clip.target}"
    return Shown(title, ("source", *(row.name for row in having)), f"data:video/mp4;base64,{content}")
