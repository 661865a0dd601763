"""The way of a score: rows are gathered, every clip of them is scored, and a report is made of the scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.report.frontier import frontier
from keyface.evaluation.report.report import Report, clip_records, describe_run
from keyface.evaluation.report.showcase import middle_frames, side_by_side
from keyface.evaluation.report.speed import measured_speed
from keyface.evaluation.rows.controls import INVERSION, SOURCE
from keyface.evaluation.rows.gather import gather_rows
from keyface.evaluation.rows.method import Method
from keyface.evaluation.rows.outputs import weights_hashes
from keyface.evaluation.rows.variants import Ways
from keyface.evaluation.scoring.calibration import calibrate
from keyface.evaluation.scoring.orderings import order_controls
from keyface.evaluation.scoring.row_scores import RowScores, score_rows
from keyface.evaluation.scoring.summary import summarize
from keyface.models.judges import Judges
from keyface.pipeline.pipeline import FaceEditPipeline

SHEET_COLUMNS = 10
"""Clips in the picture of the edits."""


def run(
    clips: ClipSet,
    ways: Ways,
    pipe: FaceEditPipeline | None,
    judges: Judges,
    output: Path,
    *,
    methods: Sequence[Method] = (),
    cache: Path | None = None,
    seed: int = 0,
    show: int = 5,
    notes: Sequence[str] = (),
    speeds: Sequence[Mapping[str, Any]] = (),
    published: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """Edit, score and report.

    Args:
        clips: The clip set.
        ways: How keyface edits.
        pipe: What edits; None leaves out the controls that need a model.
        judges: Who judges.
        output: Gets our edits and the controls; the report is not written.
        methods: Outputs of others.
        cache: Folder for what was computed, in place of OUTPUT/cache.
        seed: Of the intervals.
        show: How many clips to show side by side.
        notes: What a reader must know.
        speeds: Rows for the table of speeds.
        published: Published figures.

    Raises:
        ValueError: Two rows have one name, or a video cannot be used.
        FileNotFoundError: A video is missing.
    """
    candidates = gather_rows(clips, methods, ways, pipe, output)
    scored, scorer = score_rows(clips, candidates, judges, cache or output / "cache")
    rows = [summarize(row, seed) for row in scored]
    shown = _worth_showing(scored)
    whole = [row.candidate for row in shown if not row.missing]
    return Report(
        describe_run(scorer, candidates, {} if pipe is None else weights_hashes(pipe), seed),
        rows,
        calibrate(scored, seed),
        order_controls(scored, seed),
        frontier(rows),
        [*measured_speed(candidates), *speeds],
        published,
        side_by_side(clips, [row.candidate for row in shown], show),
        notes,
        clip_records(scored),
        middle_frames(clips, whole, SHEET_COLUMNS),
    )


def _worth_showing(rows: Sequence[RowScores]) -> list[RowScores]:
    """Return the edits, and the inversion beside them, which edits nothing; without edits, all controls."""
    if any(row.candidate.kind == "method" for row in rows):
        return [row for row in rows if row.candidate.kind == "method" or row.candidate.name == INVERSION]
    return [row for row in rows if row.candidate.kind == "control" and row.candidate.name != SOURCE]
