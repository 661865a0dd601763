"""All rows of an evaluation: the controls, and everybody's edits."""

from collections.abc import Sequence
from pathlib import Path

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.rows.candidate import Candidate, refuse_twins
from keyface.evaluation.rows.control_rows import (
    another_person,
    ground_truth,
    source,
    spoiled,
    through_the_model,
)
from keyface.evaluation.rows.method import Method
from keyface.evaluation.rows.ours import edit_clips
from keyface.evaluation.rows.variants import Ways
from keyface.pipeline.pipeline import FaceEditPipeline


def gather_rows(
    clips: ClipSet, methods: Sequence[Method], ways: Ways, pipe: FaceEditPipeline | None, output: Path
) -> list[Candidate]:
    """Return every row, controls first; what keyface has to make for them is made here.

    Args:
        clips: The clip set.
        methods: Outputs of others.
        ways: How keyface edits.
        pipe: What edits; None leaves out the controls that need a model.
        output: Gets the folders `controls`, `methods` and `sweep`.

    Raises:
        ValueError: Two rows have one name, or a clip has no prompts.
    """
    edits = [Candidate(method.name, "method", clips, method) for method in methods]
    refuse_twins([*edits, *(Candidate(way.name, "method", clips) for way in (*ways.rows, *ways.points))])
    controls = [source(clips)]
    if pipe is not None:
        controls += through_the_model(clips, pipe, ways.control, output / "controls")
        edits += [edit_clips(clips, pipe, way, output / "methods" / way.name) for way in ways.rows]
        edits += [edit_clips(clips, pipe, way, output / "sweep" / way.name, "sweep") for way in ways.points]
    truth = ground_truth(clips)
    faults = spoiled(clips, output / "controls")
    return [*controls, *([truth] if truth is not None else []), *faults, another_person(clips), *edits]
