"""Whether the end of a long clip is edited as well as its beginning, where video models lose their way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from keyface.benchmark.comparison import Comparison
from keyface.benchmark.quality import score_frames
from keyface.benchmark.raw import RawFrames, RawSink
from keyface.benchmark.runner import run_child
from keyface.metrics.locality import outside_change
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON, FPS, Trial, find_person, render_trial
from keyface.models.judges import Judges
from keyface.plugins import Category
from keyface.plugins import edits as registry
from keyface.progress import each, say

_CHUNK = 16


@dataclass(frozen=True)
class LongClip:
    """One held-out person's clip in a file, with the truth of its first and its last frames.

    Attributes:
        frames: Raw frames of all of it.
        first: The trial of its first frames.
        last: The trial of its last frames.
    """

    frames: RawFrames
    first: Trial
    last: Trial

    def parts(self, clip: RawFrames) -> tuple[tuple[Trial, Tensor], tuple[Trial, Tensor]]:
        """Return the first and the last frames of a clip of this length, each with its trial."""
        count = len(self.first.frames)
        return (self.first, clip.read(0, count)), (self.last, clip.read(len(clip) - count, count))


def render_long(
    categories: Sequence[Category], path: Path, frames: int, window: int, size: int, seed: int
) -> LongClip:
    """Render the clip of somebody who lacks the categories, a few frames at a time.

    Its second half is the first one backwards, so that both ends show the same poses.

    Args:
        categories: The edits.
        path: Where its frames go.
        frames: Its length.
        window: How many frames at each end have their truth.
        size: Rows and columns.
        seed: Of the clip.
    """
    identity = find_person(categories, FIRST_PERSON, seed)
    half = (frames + 1) // 2
    faces = draw_clip(identity, seed, half, FPS)
    with RawSink(path) as sink:
        for start in each(range(0, half, _CHUNK), "rendered"):
            sink(render_images(faces[start : start + _CHUNK], size))
        forwards = RawFrames(path, half, size)
        for stop in range(frames - half, 0, -_CHUNK):
            start = max(stop - _CHUNK, 0)
            sink(forwards.read(start, stop - start).flip(0))
    first, last = (
        render_trial(identity, categories, window, size, seed, backwards=backwards)
        for backwards in (False, True)
    )
    return LongClip(RawFrames(path, frames, size), first, last)


def measure_drift(comparison: Comparison, window: int) -> list[dict[str, Any]]:
    """Edit one clip in each way, and score its first and its last frames.

    Args:
        comparison: The ways, the categories and one length.
        window: How many frames at each end.

    Returns:
        Three rows a way: the first frames, the last ones, and the differences.
    """
    (length,) = comparison.lengths
    categories, request, rows = registry.select(list(comparison.edits)), comparison.request, []
    judges = Judges.miniature()
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = Path(name)
        seed = request.settings.seed
        clip = render_long(categories, folder / "clip", length, window, request.size, seed)
        for way, settings in comparison.ways.items():
            say(f"{way}: edits {length} frames")
            edited = folder / "edited"
            asked = replace(
                request,
                frames=length,
                settings=settings,
                prompts=clip.first.prompts,
                clip=clip.frames.path,
                edited=edited,
            )
            took = run_child("keyface.benchmark.child", asked.to_json(), folder / "child")
            found = [
                score_part(trial, frames, source, judges)
                for (trial, frames), (_, source) in zip(
                    clip.parts(RawFrames(edited, length, request.size)),
                    clip.parts(clip.frames),
                    strict=True,
                )
            ]
            rows += drift_rows(way, window, *found)
            say(f"{way}: {took['seconds_cpu']:.0f} CPU s, {took['peak_mb']:.0f} MB")
    return rows


def score_part(trial: Trial, frames: Tensor, source: Tensor, judges: Judges) -> dict[str, float]:
    """Score frames of an edit as `score_frames` does, and where nothing was to change.

    Returns:
        What `score_frames` does; `outside_change` (mean absolute); `outside_colour` (the largest mean
        difference of a colour, signed). The last two are intensities in [0, 1].
    """
    outside = ~trial.region[:, None]
    shift = (((frames - source) / 2) * outside).sum(dim=(0, 2, 3)) / outside.sum().clamp(min=1)
    return {
        **score_frames(trial, frames, source, judges),
        "outside_change": float(outside_change(frames, source, trial.region)),
        "outside_colour": float(shift[shift.abs().argmax()]),
    }


def drift_rows(
    way: str, window: int, first: dict[str, float], last: dict[str, float]
) -> list[dict[str, Any]]:
    """Return both parts' rows and one of the last part's less the first's.

    Example:
        >>> drift_rows("latent", 250, {"edit_success": 0.75}, {"edit_success": 0.5})[-1]
        {'mode': 'latent', 'frames': 'last less first', 'edit_success': -0.25}
    """
    less = {name: last[name] - value for name, value in first.items()}
    parts = ((f"first {window}", first), (f"last {window}", last), ("last less first", less))
    return [{"mode": way, "frames": name, **values} for name, values in parts]
