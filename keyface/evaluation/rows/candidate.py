"""What is scored: a row of the table, which has a clip of its own for each clip of the set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet, ClipSpec, Method
from keyface.evaluation.scoring.metrics import ANOTHER, RENDERED, SOURCE

Kind = Literal["method", "control", "sweep"]

PERFECT = "rendered"
"""Folder of the perfect edits, below that of a rendered clip set."""


@dataclass(frozen=True)
class Candidate:
    """One row: somebody's outputs, or originals in their place.

    Attributes:
        name: The row's name; controls are in parentheses.
        kind: `method`, `control` (a calibration row) or `sweep` (a point of the frontier).
        clips: The clip set.
        method: Where the outputs are; None for rows of originals.
        stands_for: For rows of originals: key of an edited clip → the clip that takes its place.
        settings: How the outputs were made, where keyface made them.
    """

    name: str
    kind: Kind
    clips: ClipSet
    method: Method | None = None
    stands_for: Mapping[str, ClipSpec] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def video_of(self, clip: ClipSpec) -> Path | None:
        """The file that the row's frames come from; None where the row lacks the clip."""
        if self.method is not None:
            return self.method.video_of(clip)
        return self.clips.video_of(self.stands_for[clip.key]) if clip.key in self.stands_for else None

    def frames_of(self, clip: ClipSpec) -> Tensor:
        """The frames to score, (T, 3, S, S) in [-1, 1]; T is that of the original.

        Raises:
            FileNotFoundError: The row lacks the clip.
            ValueError: The file is damaged, or of another length or size than the original.
        """
        if self.method is not None:
            return self.method.frames_of(clip)
        return self.clips.frames_of(self.stands_for[clip.key])

    def drawn_from(self, clip: ClipSpec) -> ClipSpec | None:
        """For rows of originals, the clip that takes the clip's place."""
        return self.stands_for.get(clip.key)


def source(clips: ClipSet) -> Candidate:
    """The control that is the original itself."""
    return Candidate(SOURCE, "control", clips, stands_for={clip.key: clip for clip in clips.edited})


def another_person(clips: ClipSet) -> Candidate:
    """The control that is, for each clip, the next one of the set with somebody else and of equal length.

    A clip for which there is none is missing in the row.
    """
    chosen: dict[str, ClipSpec] = {}
    everything = (*clips.edited, *clips.gallery)
    for position, clip in enumerate(clips.edited):
        following = (*everything[position + 1 :], *everything[:position])
        for other in following:
            if other.identity != clip.identity and (other.frames, other.size) == (clip.frames, clip.size):
                chosen[clip.key] = other
                break
    return Candidate(ANOTHER, "control", clips, stands_for=chosen)


def perfect(clips: ClipSet) -> Candidate | None:
    """The control that is the renderer's own edit; None for clips that nobody rendered."""
    folder = clips.folder / PERFECT
    return Candidate(RENDERED, "control", clips, Method(PERFECT, folder)) if folder.is_dir() else None


def refuse_twins(candidates: Iterable[Candidate]) -> None:
    """Raise ValueError where two rows have one name."""
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.name in seen:
            raise ValueError(f"two methods are named {candidate.name!r}; give each a name of its own")
        seen.add(candidate.name)
