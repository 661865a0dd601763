"""What `keyface evaluate` needs before it scores: the clip set, the rows, the judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyface.evaluation.clip_sets.clip_set import ClipSet, Method
    from keyface.evaluation.report.report import Report
    from keyface.evaluation.rows.candidate import Candidate, Kind
    from keyface.evaluation.rows.ours import Model
    from keyface.evaluation.rows.variants import Variant
    from keyface.evaluation.scoring.scorer import Scorer
    from keyface.evaluation.scoring.summary import RowScores
    from keyface.models.judges import Judges

SHEET_COLUMNS = 10
"""Clips in the picture of the edits."""

Bar = Callable[[int], None]


@contextmanager
def progress(what: str, total: int) -> Iterator[Bar]:
    """A bar on stderr; yields what advances it."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, dynamic_ncols=True) as bar:

        def advance(units: int) -> None:
            bar.update(units)

        yield advance


def chosen_variants(
    ours: bool, edit: str | None, variants: Path | None, sweep: str | None
) -> tuple[Variant, list[Variant], list[Variant]]:
    """How controls are made, and how ours edit: rows of the table, and points of the sweep."""
    from keyface.evaluation.clip_sets.protocols import found_config
    from keyface.evaluation.rows.variants import Variant, grid, parse_settings, read_variants

    base = parse_settings(edit) if edit is not None else {}
    rows = [Variant("ours", base)] if ours else []
    if variants is not None:
        rows += read_variants(found_config(variants), base)
    points = grid(sweep, base) if sweep is not None else []
    if edit is not None and not rows and not points:
        raise ValueError("--edit says how --ours, --variants or --sweep edit; add one of them")
    return Variant("controls", base), rows, points


def load_model(
    weights: Path | None, identity: Path | None, direction: Path | None, device: str | None, seed: int
) -> Model:
    """What edits, with the defaults of `keyface edit`."""
    from keyface.evaluation.rows.ours import Model
    from keyface.models.backbones import MINIATURE
    from keyface.models.judges import folder_sha256
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.record import say

    pipe = FaceEditPipeline.from_pretrained(weights or MINIATURE, identity, direction, device, say=say)
    settings = replace(pipe.defaults, seed=seed)
    folders = {"weights": pipe.backbone.source, **pipe.folders}
    versions = {name: folder_sha256(folder) for name, folder in folders.items() if folder is not None}
    return Model(pipe.backbone, pipe.identity, pipe.direction, settings, settings.strength, versions)


def choose_judges(place: str | None, raft: Path | None) -> tuple[Judges, list[str]]:
    """The judges, and what a reader must know about them.

    Args:
        place: "package.module:function" of the user's judges; None takes the miniature's.
        raft: RAFT's weights; None takes OpenCV's DIS, and no flow where OpenCV is missing.
    """
    from keyface.metrics.flow import flow_estimator
    from keyface.models.judges import Judges

    judges = Judges.miniature() if place is None else Judges.load(place)
    notes = [judges.remark] if judges.remark else []
    if judges.flow is not None:
        return judges, notes
    try:
        judges = judges.with_flow(flow_estimator(raft))
    except ImportError as error:
        return judges, [*notes, f"No temporal loss where there is no exact flow: {error}."]
    if raft is None:
        notes.append(
            "Estimated flow is OpenCV's DIS, not the paper's RAFT, whose weights --raft FILE would take."
        )
    return judges, notes


def limited(clips: ClipSet, limit: int | None) -> ClipSet:
    """The clip set with only its first edited clips to score; the others stay in the gallery."""
    if limit is None:
        return clips
    if limit < 1:
        raise ValueError(f"--limit {limit}: at least one clip must be scored")
    return replace(clips, edited=clips.edited[:limit], gallery=(*clips.edited[limit:], *clips.gallery))


def gather_rows(
    clips: ClipSet,
    methods: Sequence[Method],
    control: Variant,
    ways: Sequence[Variant],
    points: Sequence[Variant],
    model: Model | None,
    output: Path,
) -> list[Candidate]:
    """Every row, controls first; what keyface has to make for them is made here.

    Args:
        clips: The clip set.
        methods: Outputs of others.
        control: How the controls are inverted.
        ways: How ours edit, a row each.
        points: Of the sweep.
        model: What edits; None leaves out the controls that need one.
        output: Gets the folders `controls`, `methods` and `sweep`.
    """
    from keyface.evaluation.rows.candidate import Candidate, another_person, perfect, refuse_twins, source
    from keyface.evaluation.rows.ours import control_clips, edit_clips

    others = [Candidate(method.name, "method", clips, method) for method in methods]
    planned = [Candidate(way.name, "method", clips) for way in (*ways, *points)]
    refuse_twins([*others, *planned])
    rows, last = [source(clips)], another_person(clips)
    if model is not None:
        with progress("controls", 2 * len(clips.edited)) as advance:
            rows += control_clips(clips, model, control, output / "controls", advance)
        work: list[tuple[Kind, str, Variant]] = [("method", "methods", way) for way in ways]
        work += [("sweep", "sweep", point) for point in points]
        for kind, folder, way in work:
            with progress(f"edit: {way.name}", len(clips.edited)) as advance:
                others.append(edit_clips(clips, model, way, output / folder / way.name, advance, kind))
    answer = perfect(clips)
    return [*rows, *([answer] if answer is not None else []), last, *others]


def judge_rows(
    clips: ClipSet, rows: Sequence[Candidate], judges: Judges, cache: Path
) -> tuple[list[RowScores], Scorer]:
    """Score every clip of every row, and look each up in the gallery."""
    from keyface.evaluation.scoring.cache import Store
    from keyface.evaluation.scoring.metrics import INVERSION
    from keyface.evaluation.scoring.scorer import Scorer
    from keyface.evaluation.scoring.summary import Gallery, score_rows

    reference = next((row for row in rows if row.name == INVERSION), None)
    scorer = Scorer(clips, judges, Store(cache), reference)
    with progress("gallery", len(clips.clips)) as advance:
        gallery = Gallery.of(scorer, advance)
    with progress("score", len(rows) * len(clips.edited)) as advance:
        return score_rows(scorer, rows, gallery, advance), scorer


def write_up(
    scored: Sequence[RowScores],
    scorer: Scorer,
    model: Model | None,
    notes: Sequence[str],
    speeds: Sequence[Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]],
    seed: int,
    show: int,
) -> Report:
    """Put everything that was found into a report."""
    from keyface.evaluation.report.frontier import frontier
    from keyface.evaluation.report.report import Report, about, clip_records
    from keyface.evaluation.report.showcase import middle_frames, side_by_side
    from keyface.evaluation.report.speed import measured_speed
    from keyface.evaluation.scoring.calibration import calibrate
    from keyface.evaluation.scoring.metrics import INVERSION
    from keyface.evaluation.scoring.summary import summarize

    rows = [summarize(row, seed) for row in scored]
    candidates = [row.candidate for row in scored]
    missing = {row.candidate.name: row.missing for row in scored}
    panels = [each for each in candidates if each.kind == "method" or each.name == INVERSION]
    return Report(
        about(scorer, candidates, {} if model is None else model.versions, seed),
        rows,
        calibrate(scored, seed),
        frontier(rows),
        [*measured_speed(candidates), *speeds],
        published,
        side_by_side(scorer.clips, panels, show),
        notes,
        clip_records(scored),
        middle_frames(scorer.clips, [each for each in panels if not missing[each.name]], SHEET_COLUMNS),
    )
