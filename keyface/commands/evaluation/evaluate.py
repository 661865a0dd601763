"""`keyface evaluate`: edited videos against their originals, and a report that a reviewer would accept."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings
from keyface.progress import say

if TYPE_CHECKING:
    from keyface.evaluation.report.report import Report


def evaluate(
    protocol: str = "miniature",
    method: list[str] | None = None,
    ours: bool = False,
    controls: bool = False,
    variants: Path | None = None,
    sweep: dict[str, Any] | str | None = None,
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int = 0,
    videos: Path | None = None,
    annotations: Path | None = None,
    edits: str | None = None,
    categories: Path | None = None,
    clips: int | None = None,
    gallery: int | None = None,
    frames: int | None = None,
    long_clips: bool = False,
    limit: int | None = None,
    weights: str | None = None,
    identity: Path | None = None,
    direction: Path | None = None,
    judges: str | None = None,
    raft: Path | None = None,
    benchmark: Path | None = None,
    reference: str | None = None,
    show: int = 5,
    json: bool = False,
    output: Path = Path("runs/evaluate"),
    cache: Path | None = None,
    device: str | None = None,
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    strict_device: bool = False,
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
        controls: Score the calibration rows alone, and print as Markdown which metrics put which in order.
        variants: YAML file with one row a way to edit; ablation, guidance, propagation, shapes, solver and
            speed ship with keyface (configs/evaluate).
        sweep: Settings and their values, over whose combinations the frontier of identity against edit
            success is drawn, such as '{guidance_scale: [2, 3.5, 5], injection.enabled: [false, true]}'.
        settings: How ours, variants and sweep edit; what is not given is as the weights' edit.yaml and the
            categories ask for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        guidance: Short for --settings.guidance_scale: scale of classifier-free guidance.
        strength: Short for --settings.strength: fraction of the inversion that is undone; less changes less.
        seed: Of the choice of clips, of our edits and of the intervals.
        videos: Folder of the videos: CelebV-HQ's to make its clip set, or where a clip set's are.
        annotations: CelebV-HQ's celebvhq_info.json, with which its clip set knows who has what already.
        edits: Categories that a new clip set gives its clips, separated by commas; glasses+beard is both. Of
            a protocol.json: the edits whose clips are scored, the others stay in the gallery.
        categories: YAML file with edit categories of your own, which --edits and clip sets may name.
        clips: How many clips of a new clip set are edited.
        gallery: How many further originals a new clip set looks identities up among.
        frames: Frames a clip of a new clip set.
        long_clips: With celebv-hq, the paper's Table 3: 20 clips of ten seconds.
        limit: Score only the first so many edited clips; the others stay in the gallery.
        weights: A backbone, as of keyface edit, for ours and for the calibration rows.
        identity: Folder of ε1, the identity branch: of an export, a run, or an experiment.
        direction: Folder of ε2, the editing branch, likewise.
        judges: package.module:function that gives judges of your own; see keyface.models.judges.
        raft: Weights of torchvision's raft_large; without it flow that is not exact is OpenCV's DIS.
        benchmark: JSON table of speeds to show, a list of objects.
        reference: JSON file of published figures to show, as other data, beside the paper's, a list of
            objects with method, measure, value, where, data and note; none leaves out the paper's, too.
        show: How many clips to show side by side in the report.
        json: Print the rows as JSON, a list with one object a method, and nothing else on stdout.
        output: Folder for the report, the clip set, our edits and the cache.
        cache: Folder for what was computed, in place of OUTPUT/cache.
        device: Where to edit, such as cuda or cpu; on a GPU where there is one if not given.
        dtype: Precision of the U-Nets, the rest is fp32; auto is bf16 on a GPU that has it, fp16 on older
            ones, fp32 on a CPU.
        strict_device: Take no CPU in place of a GPU: an error instead of a warning.

    Raises:
        ValueError: The request does not fit together, a video cannot be used, or another process is at work
            in the output's folder.
        FileNotFoundError: An input does not exist.
    """
    from keyface.commands.console import print_json
    from keyface.evaluation.clip_sets.clip_set import check_limit
    from keyface.evaluation.clip_sets.protocols import is_rendered, next_step, open_clips
    from keyface.evaluation.report.published import read_published
    from keyface.evaluation.report.speed import read_benchmark
    from keyface.evaluation.rows.method import Method
    from keyface.evaluation.rows.variants import choose_ways
    from keyface.evaluation.run import run
    from keyface.evaluation.scoring.judges import choose_judges
    from keyface.files import require_folder
    from keyface.locking import alone_in
    from keyface.models.backbones import MINIATURE
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.plugins import edits as registry

    # Whatever can be wrong with the request is found before anything is rendered or edited.
    require_folder(output)
    check_limit(limit)
    base = given_settings(settings, steps=steps, guidance=guidance, strength=strength)
    ways = choose_ways(ours, {"seed": seed, **base}, variants, sweep)
    if controls and (method or ways):
        raise ValueError("--controls scores the calibration rows alone; leave out --method and other rows")
    if base and not ways and not controls:
        raise ValueError("--settings say how --ours, --variants or --sweep edit; add one of them")
    methods = [Method.parse(text) for text in method or ()]
    published = read_published(reference)
    speeds = read_benchmark(benchmark) if benchmark is not None else []
    judging, notes = choose_judges(judges, raft)
    options = {
        "edits": edits, "edited": clips, "gallery": gallery, "frames": frames,
        "long_clips": long_clips or None, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    with registry.with_file(categories), alone_in(output):
        clip_set, path = open_clips(protocol, videos, annotations, given, output)
        if path is not None and not methods and not ways and not controls:
            say(next_step(path, clip_set))
            return
        clip_set = clip_set.limited(limit)
        clip_set.require_videos()
        pipe = None
        if ways or weights is not None or is_rendered(clip_set):
            pipe = FaceEditPipeline.from_pretrained(
                weights or MINIATURE, identity, direction, device, dtype=dtype, say=say
            )
        else:
            notes.append(
                "No model was given (--weights), so the rows (autoencoder) and (inversion) are missing."
            )
        report = run(
            clip_set, ways, pipe, judging, output, methods=methods, cache=cache, seed=seed, show=show,
            notes=notes, speeds=speeds, published=published,
        )  # fmt: skip
        files = report.write(output)
    if json:
        print_json(report.rows)
    elif controls:
        print(report.controls(), end="")
    conclude(report, table_too=not json and not controls)
    say(f"written: {', '.join(map(str, files))}")


def conclude(report: Report, *, table_too: bool = True) -> None:
    """Print the table, and say what is unfit and what is missing."""
    from keyface.commands.console import table
    from keyface.evaluation.report.tables import measured

    rows = [row for row in report.rows if row["n"]]
    everywhere = [each.name for each in measured(rows) if all(each.name in row for row in rows)]
    if table_too:
        print(f"\n{report.caption()}\n")
        print(table([{name: row[name] for name in ("method", "n", *everywhere)} for row in rows]))
        print()
    for note in report.notes:
        say(f"note: {note}")
    for verdict in report.verdicts:
        if verdict.fit is False:
            say(f"unfit: {verdict.metric}: {verdict.reason}")
    for row in report.rows:
        if row["missing"]:
            say(f"missing: {row['method']} lacks {len(row['missing'])} clips: {', '.join(row['missing'])}")
