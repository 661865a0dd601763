"""Whether the places where a clip was split between devices can be told from other frames."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from keyface.editing.splitting import split_clip
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON, FPS, find_person
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.pipeline.request.request import VideoRequest
from keyface.plugins import Category
from keyface.progress import each, say
from keyface.video import VideoReader, write_clip

_CHUNK = 16


def measure_seams(
    pipe: FaceEditPipeline,
    categories: Sequence[Category],
    frames: int,
    devices: int,
    settings: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Edit one rendered clip on one device and on several, and compare its changes from frame to frame.

    Args:
        pipe: Edits.
        categories: All at once; of somebody who lacks them.
        frames: Length of the clip.
        devices: How many share the second edit.
        settings: That the user gave, by name.

    Returns:
        A row an edit: how much more or less changes from one frame to the next than in the source, mean of
        absolute intensities in [0, 1]: the median and the largest over all pairs of frames, the largest at a
        seam, and that over the median.

    Raises:
        ValueError: The clip is too short to be split so often.
    """
    effective = pipe.settings_for(categories).with_values(settings)
    starts = [part.first for part in split_clip(frames, effective, devices)][1:]
    if len(starts) < devices - 1:
        raise ValueError(
            f"--frames {frames}: has {len(starts) + 1} windows of keyframes, too few for {devices} devices; "
            "give more frames"
        )
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = Path(name)
        identity = find_person(categories, FIRST_PERSON, effective.seed)
        faces = draw_clip(identity, effective.seed, frames, FPS)
        chunks = each(range(0, frames, _CHUNK), "rendered")
        size = pipe.backbone.image_size
        write_clip(
            folder / "clip.mp4",
            (render_images(faces[start : start + _CHUNK], size) for start in chunks),
            Fraction(FPS),
        )
        request = VideoRequest(
            folder / "clip.mp4",
            folder / "edited.mp4",
            edits=categories,
            settings=settings,
            crop="centre",
            no_watermark="changes from frame to frame are measured",
            overwrite=True,
        )
        source, rows = VideoReader(folder / "clip.mp4").whole(), []
        for count in (1, devices):
            say(f"edits {frames} frames on {count} device{'s' if count > 1 else ''}")
            pipe.run(replace(request, devices=count))
            edited = VideoReader(folder / "edited.mp4").whole()
            rows.append({"devices": count, **compare_seams(source, edited, starts)})
    return rows


def compare_seams(source: Tensor, edited: Tensor, starts: Sequence[int]) -> dict[str, float]:
    """Return how much more or less an edit changes from one frame to the next than its source does.

    Args:
        source: (T, 3, H, W) in [-1, 1].
        edited: The same clip, edited.
        starts: The first frames behind seams.

    Example:
        >>> edited = torch.zeros(4, 3, 1, 1)
        >>> edited[2:] = 0.5  # a jump at frame 2
        >>> found = compare_seams(torch.zeros(4, 3, 1, 1), edited, [2])
        >>> found["largest"], found["at_seam"]
        (0.25, 0.25)
    """
    changes = ((edited - source).diff(dim=0) / 2).abs().mean(dim=(1, 2, 3))
    median, at_seam = float(changes.median()), float(changes[[start - 1 for start in starts]].max())
    return {
        "median": median,
        "largest": float(changes.max()),
        "at_seam": at_seam,
        "ratio": at_seam / max(median, 1e-9),
    }
