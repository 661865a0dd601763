"""`keyface evaluate`: edited videos against their originals, and a report that a reviewer would accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keyface.pipeline.record import say

if TYPE_CHECKING:
    from keyface.evaluation.report.report import Report


def evaluate(
    protocol: str = "miniature",
    method: list[str] | None = None,
    ours: bool = False,
    edit: str | None = None,
    variants: Path | None = None,
    sweep: str | None = None,
    videos: Path | None = None,
    annotations: Path | None = None,
    edits: str | None = None,
    clips: int | None = None,
    gallery: int | None = None,
    frames: int | None = None,
    long_clips: bool = False,
    limit: int | None = None,
    weights: Path | None = None,
    identity: Path | None = None,
    direction: Path | None = None,
    judges: str | None = None,
    raft: Path | None = None,
    benchmark: Path | None = None,
    reference: Path | None = None,
    show: int = 5,
    json: Path | None = None,
    output: Path = Path("runs/evaluate"),
    cache: Path | None = None,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Score edited videos against their originals, whoever made them, and write a report.

    First make a clip set, which says which clips are edited and how, then edit them with any method into a
    folder of KEY.mp4 files, then score:

        keyface evaluate --protocol celebv-hq --videos CelebV-HQ -o runs/celebv
        keyface evaluate --protocol runs/celebv/protocol.json --videos CelebV-HQ --method stit=outputs/stit

    On the miniature, which needs nothing, all at once: keyface evaluate --protocol miniature --ours.
    What was computed is kept in OUTPUT/cache, so that a run that was stopped goes on where it was; with
    --cache several outputs share it, and a gallery is looked at once for all of them.

    Args:
        protocol: A clip set's protocol.json, or what to make one of: miniature, celebv-hq, or a YAML file of
            options; goals and multi_edit ship with keyface (configs/evaluate).
        method: Outputs to score, as NAME=DIR with DIR/KEY.mp4 for each clip; may be given several times.
        ours: Edit the clips with keyface, too.
        edit: How ours edit, such as steps=25,guidance=4,injection.until=0.5.
        variants: YAML file with one row a way to edit; ablation, guidance, propagation, shapes and solver
            ship with keyface (configs/evaluate).
        sweep: Settings to draw the frontier of identity against edit success over, such as
            injection.until,guidance,strength or strength=0.5:0.75:1.
        videos: Folder of the videos: CelebV-HQ's to make its clip set, or where a clip set's are.
        annotations: CelebV-HQ's celebvhq_info.json, with which its clip set knows who has what already.
        edits: Categories that a new clip set gives its clips, separated by commas; glasses+beard is both.
        clips: How many clips of a new clip set are edited.
        gallery: How many further originals a new clip set looks identities up among.
        frames: Frames a clip of a new clip set.
        long_clips: With celebv-hq, the paper's Table 3: 20 clips of ten seconds.
        limit: Score only the first so many edited clips; the others stay in the gallery.
        weights: Folder of a backbone in diffusers' layout, for ours and for the calibration rows.
        identity: Folder of ε1, the identity branch: a U-Net or LoRA weights.
        direction: Folder of ε2, the editing branch: a U-Net or LoRA weights.
        judges: package.module:function that gives judges of your own; see keyface.models.judges.
        raft: Weights of torchvision's raft_large; without it flow that is not exact is OpenCV's DIS.
        benchmark: JSON table of speeds to show, a list of objects.
        reference: JSON list of published figures to show as other data; see keyface.evaluation.report.published.
        show: How many clips to show side by side in the report.
        json: File for the rows, a list with one object a method.
        output: Folder for the report, the clip set, our edits and the cache.
        cache: Folder for what was computed, in place of OUTPUT/cache.
        seed: Of the choice of clips, of our edits and of the intervals.
        device: Where to edit, such as cuda or cpu.

    Raises:
        ValueError: The request does not fit together, or a video cannot be used.
        FileNotFoundError: An input does not exist.
    """
    from keyface.commands.console import write_json
    from keyface.evaluation.clip_sets.clip_set import Method
    from keyface.evaluation.clip_sets.protocols import Options, is_rendered, next_step, open_clips
    from keyface.evaluation.report.published import references
    from keyface.evaluation.report.speed import read_benchmark
    from keyface.evaluation.setup import (
        choose_judges,
        chosen_variants,
        gather_rows,
        judge_rows,
        limited,
        load_model,
        write_up,
    )

    # Whatever can be wrong with the request is found before anything is rendered or edited.
    control, ways, points = chosen_variants(ours, edit, variants, sweep)
    methods = [Method.parse(text) for text in method or ()]
    published = references(reference)
    speeds = read_benchmark(benchmark) if benchmark is not None else []
    judging, notes = choose_judges(judges, raft)
    options = Options(edits, clips, gallery, frames, long_clips, seed)
    clip_set, path = open_clips(protocol, videos, annotations, options, output)
    if path is not None and not methods and not ways and not points:
        say(next_step(path, clip_set))
        return
    clip_set = limited(clip_set, limit)
    model = None
    if ways or points or weights is not None or is_rendered(clip_set):
        model = load_model(weights, identity, direction, device, seed)
    else:
        notes.append("No model was given (--weights), so the rows (autoencoder) and (inversion) are missing.")
    rows = gather_rows(clip_set, methods, control, ways, points, model, output)
    scored, scorer = judge_rows(clip_set, rows, judging, cache or output / "cache")
    report = write_up(scored, scorer, model, notes, speeds, published, seed, show)
    files = report.write(output)
    if json is not None:
        write_json(json, report.rows)
        files.append(json)
    conclude(report)
    print(f"written: {', '.join(map(str, files))}")


def conclude(report: Report) -> None:
    """Print the table, what is unfit and what is missing."""
    from keyface.commands.console import table
    from keyface.evaluation.report.tables import measured

    rows = [row for row in report.rows if row["n"]]
    everywhere = [each.name for each in measured(rows) if all(each.name in row for row in rows)]
    print(f"\n{report.caption()}\n")
    print(table([{name: row[name] for name in ("method", "n", *everywhere)} for row in rows]))
    print()
    for note in report.notes:
        say(f"note: {note}")
    for verdict in report.verdicts:
        if verdict.fit is False:
            say(f"unfit: {verdict.measure}: {verdict.reason}")
    for row in report.rows:
        if row["missing"]:
            say(f"missing: {row['method']} lacks {len(row['missing'])} clips: {', '.join(row['missing'])}")
