"""One edited clip's original with all that every row's score needs of it, worked out once."""

from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import GroundTruth, ground_truth_path, read_ground_truth
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.control_rows import ground_truth
from keyface.files import sha256
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
        """Return the frames, (T, 3, S, S) in [-1, 1]."""
        return self.clips.frames_of(self.clip)

    @cached_property
    def ground_truth(self) -> GroundTruth | None:
        """Return flow and masks of the clip; None where nobody rendered it."""
        return read_ground_truth(self.clips.folder, self.clip)

    @cached_property
    def ground_truth_edit(self) -> Tensor | None:
        """Return the renderer's own edit, (T, 3, S, S) in [-1, 1]; None where nobody rendered it."""
        row = self._ground_truth_row
        return None if row is None or row.video_of(self.clip) is None else row.frames_of(self.clip)

    @cached_property
    def ground_truth_hashes(self) -> dict[str, str | None]:
        """Return the SHA-256 of both files of ground truth, None for one that is not there."""
        row = self._ground_truth_row
        masks = ground_truth_path(self.clips.folder, self.clip)
        edit = None if row is None else row.video_of(self.clip)
        return {
            "truth": sha256(masks) if masks.is_file() else None,
            "answer": None if edit is None else sha256(edit),
        }

    @cached_property
    def _ground_truth_row(self) -> Candidate | None:
        return ground_truth(self.clips)

    @cached_property
    def motion(self) -> Motion | None:
        """Return how the original moves; None for one frame, or where nothing knows or estimates it."""
        if self.clip.frames < 2:
            return None
        if self.ground_truth is not None:
            return Motion(self.ground_truth.flow, self.ground_truth.valid, exact=True)
        if self.judges.flow is None:
            return None
        return Motion(*clip_flow(self.judges.flow, self.frames), exact=False)
