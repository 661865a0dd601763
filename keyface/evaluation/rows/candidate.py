"""A row of the table: somebody's outputs, or originals in their place, one for each clip of the set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.method import Method

Kind = Literal["method", "control", "sweep"]


@dataclass(frozen=True)
class Candidate:
    """One row.

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
        """Return the file that the row's frames come from; None where the row lacks the clip."""
        if self.method is not None:
            return self.method.video_of(clip)
        return self.clips.video_of(self.stands_for[clip.key]) if clip.key in self.stands_for else None

    def frames_of(self, clip: ClipSpec) -> Tensor:
        """Return the frames to score, (T, 3, S, S) in [-1, 1]; T is that of the original.

        Raises:
            FileNotFoundError: The row lacks the clip.
            ValueError: The file is damaged, or of another length or size than the original.
        """
        if self.method is not None:
            return self.method.frames_of(clip)
        return self.clips.frames_of(self.stands_for[clip.key])

    def drawn_from(self, clip: ClipSpec) -> ClipSpec | None:
        """Return, for rows of originals, the clip that takes the clip's place."""
        return self.stands_for.get(clip.key)


def refuse_twins(candidates: Iterable[Candidate]) -> None:
    """Raise ValueError where two rows have one name."""
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.name in seen:
            raise ValueError(f"two methods are named {candidate.name!r}; give each a name of its own")
        seen.add(candidate.name)
