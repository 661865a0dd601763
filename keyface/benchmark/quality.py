"""What an edit is worth, against the ground truth of the miniature's clip, by the metrics of the project."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from keyface.benchmark.raw import RawFrames, RawSink
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.metrics.locality import psnr
from keyface.metrics.temporal import temporal_loss
from keyface.miniature.trials import FIRST_PERSON, Trial, find_person, render_trial
from keyface.models.judges import Judges, edit_success
from keyface.plugins import Category


@dataclass(frozen=True)
class RenderedClip:
    """One held-out person's clip in a file, with what is true of it.

    Attributes:
        path: Raw frames, as all ways to edit read them.
        trial: What it was rendered from, with the ground truth.
        size: Rows and columns.
    """

    path: Path
    trial: Trial
    size: int

    @property
    def length(self) -> int:
        """Return the number of frames."""
        return len(self.trial.frames)


def render_clip(
    categories: Sequence[Category], path: Path, frames: int, size: int, seed: int
) -> RenderedClip:
    """Render the clip of somebody who lacks the categories; a longer clip begins as a shorter one does."""
    found = render_trial(find_person(categories, FIRST_PERSON, seed), categories, frames, size, seed)
    with RawSink(path) as sink:
        sink(found.frames)
    return RenderedClip(path, found, size)


def score(clip: RenderedClip, edited: Path, judges: Judges) -> dict[str, float]:
    """Score an edit as `keyface demo` does; see `score_frames`.

    Args:
        clip: The clip.
        edited: Raw frames of the edit.
        judges: Recognizers and classifier that trained nothing.
    """
    frames = RawFrames(edited, clip.length, clip.size).read()
    source = RawFrames(clip.path, clip.length, clip.size).read()
    return score_frames(clip.trial, frames, source, judges)


def score_frames(trial: Trial, frames: Tensor, source: Tensor, judges: Judges) -> dict[str, float]:
    """Score frames of an edit against what is true of them.

    Args:
        trial: Their truth.
        frames: (T, 3, H, W) in [-1, 1], edited.
        source: The same before the edit, as the editor read it.
        judges: Recognizers and classifier that trained nothing.

    Returns:
        `identity_distance` (mean over the recognizers; 0 is the same person), `edit_success` (share of
        frames that have every attribute asked for), `temporal_loss` (Eq. 7 with the exact flow).

    Raises:
        ValueError: The judges do not know the labels of what is edited.
    """
    distances = [
        cosine_distance(embed_clip(each, frames), embed_clip(each, source))
        for each in judges.recognizers.values()
    ]
    success = edit_success(judges.classifier, frames, *trial.categories)
    if success is None:
        raise ValueError("edit success needs judges that know the labels of what is edited")
    return {
        "identity_distance": float(torch.stack(distances).mean()),
        "edit_success": success,
        "temporal_loss": float(temporal_loss(frames, trial.flow, trial.valid)),
    }


def agreement(clip: RenderedClip, edited: Path, reference: Path) -> float:
    """Return the PSNR in dB between two edits of one clip, at most 100: how alike they are, not how good."""
    first, second = (RawFrames(path, clip.length, clip.size).read() for path in (edited, reference))
    return float(psnr(first, second).clamp(max=100.0))
