"""One edited clip's original with all that every row's score needs of it, worked out once."""

from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet, ClipSpec, file_sha256
from keyface.evaluation.clip_sets.ground_truth import Truth, read_truth, truth_path
from keyface.evaluation.rows.candidate import Candidate, perfect
from keyface.metrics.flow import clip_flow
from keyface.models.judges import Judges


class Motion(NamedTuple):
    """How a clip moves.

    Attributes:
        flow: (T - 1, 2, S, S) in pixels, from each frame to the next.
        valid: (T - 1, S, S) bool, false where the next frame hides or leaves out a pixel.
        exact: Whether it is the renderer's own; otherwise it is estimated on the original.
    """

    flow: Tensor
    valid: Tensor
    exact: bool


class Original:
    """An edited clip's original; everything is made when first asked for.

    Args:
        clips: The clip set.
        clip: One of its edited clips.
        judges: For the flow, where the set has no exact one.
    """

    def __init__(self, clips: ClipSet, clip: ClipSpec, judges: Judges) -> None:
        self.clips, self.clip, self.judges = clips, clip, judges

    @cached_property
    def frames(self) -> Tensor:
        """(T, 3, S, S) in [-1, 1]."""
        return self.clips.frames_of(self.clip)

    @cached_property
    def truth(self) -> Truth | None:
        """What the renderer knows of the clip; None where nobody rendered it."""
        return read_truth(self.clips.folder, self.clip)

    @cached_property
    def truth_sha256(self) -> str | None:
        """Hash of what the renderer knows."""
        path = truth_path(self.clips.folder, self.clip)
        return file_sha256(path) if path.is_file() else None

    @cached_property
    def answer(self) -> Tensor | None:
        """The renderer's own edit, (T, 3, S, S) in [-1, 1]; None where nobody rendered it."""
        return None if self._rendered is None else self._rendered.frames_of(self.clip)

    @cached_property
    def answer_sha256(self) -> str | None:
        """Hash of the renderer's own edit."""
        path = None if self._rendered is None else self._rendered.video_of(self.clip)
        return None if path is None else file_sha256(path)

    @cached_property
    def _rendered(self) -> Candidate | None:
        """The control that holds the renderer's edit; None where it lacks this clip."""
        rendered = perfect(self.clips)
        return rendered if rendered is not None and rendered.video_of(self.clip) is not None else None

    @cached_property
    def motion(self) -> Motion | None:
        """How the original moves; None for one frame, or where nothing knows or estimates it."""
        if self.clip.frames < 2:
            return None
        if self.truth is not None:
            return Motion(self.truth.flow, self.truth.valid, exact=True)
        if self.judges.flow is None:
            return None
        return Motion(*clip_flow(self.judges.flow, self.frames), exact=False)
