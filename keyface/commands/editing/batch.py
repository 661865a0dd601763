"""`keyface batch`: many clips, on as many devices and machines as there are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from keyface.pipeline.defaults import GivenSettings
from keyface.pipeline.request.framing import Framing
from keyface.video.encoding import Encoding

NETWORKS = ("weights", "identity", "direction", "categories", "dtype", "cache")
"""Options that say what edits, the same for all clips."""

MACHINE = ("accelerator", "devices", "num_nodes", "wandb", "sbatch", "overwrite")
"""Options that say where the work is done."""


def batch(
    manifest: Path,
    output: Path,
    edits: str | None = None,
    prompt: str | None = None,
    source: str | None = None,
    negative: str | None = None,
    person: str | None = None,
    weights: str = "miniature",
    identity: Path | None = None,
    direction: Path | None = None,
    categories: Path | None = None,
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    compose: Literal["off", "mask", "detail"] | None = None,
    finder: Literal["insightface", "human", "face-api", "miniature"] | None = None,
    crop: str | None = None,
    framing: Annotated[Mapping[str, Any], Framing] = MappingProxyType({}),
    doubtful: Literal["edit", "leave"] | None = None,
    start: str | None = None,
    end: str | None = None,
    max_seconds: float | None = None,
    encoding: Annotated[Mapping[str, Any], Encoding] = MappingProxyType({}),
    no_watermark: str | None = None,
    cache: Path | None = None,
    on_corrupt: Literal["error", "hold"] | None = None,
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: str = "auto",
    num_nodes: int = 1,
    wandb: str | None = None,
    sbatch: bool = False,
    overwrite: bool = False,
) -> int:
    """Edit many clips; see also `batch status -h`.

    All clips are checked before the first is edited, and the longest come first. The same command goes on
    where it was stopped, or joins in from another terminal or machine that sees the folder of the outputs.
    A clip that fails twice is set aside, and the others go on.

    The manifest is a CSV file with a column `video`, a YAML file with a list `clips`, or a folder of videos.
    Its other columns or names are `output` and the options of `keyface edit` that say what to edit and how,
    such as edits, prompt, strength, guidance, person, start or settings.interval. What it leaves out is as
    the options here say.

    Args:
        manifest: The clips: .csv, .yaml, or a folder.
        output: Folder to write into: the clips under their names, and report.json.
        edits: Edit categories separated by commas, of clips that name none.
        prompt: What the clips shall show, instead of --edits, likewise.
        source: What the clips show, in words.
        negative: What guidance moves away from.
        person: Whose face is edited, as of `keyface edit`.
        weights: A backbone: miniature, a folder in diffusers' layout, a .safetensors file, OWNER/NAME on the
            model hub, or a name of `keyface weights list`.
        identity: Folder of ε1, the identity branch.
        direction: Folder of ε2, the editing branch.
        categories: YAML file with edit categories of your own.
        settings: How to edit; what is not given is as the weights' edit.yaml and the categories ask for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        guidance: Short for --settings.guidance_scale: scale of classifier-free guidance.
        strength: Short for --settings.strength: fraction of the inversion that is undone; less changes less.
        seed: Short for --settings.seed: decides which frames become keyframes.
        compose: Short for --settings.composition.mode: how the edit is put onto the frame.
        finder: What finds the faces; if not given, what comes with the weights, else the first that is there.
        crop: A fixed square to edit instead of a face, as x,y,size in pixels; centre is the largest there is.
        framing: How the crop of a face is cut out of the frame.
        doubtful: What to do with faces that are small, turned away or cut by the border: edit or leave them;
            edit if not given.
        start: Edit only from this time on, in seconds or minutes:seconds.
        end: Edit only what is shown before this time.
        max_seconds: Edit only so many seconds.
        encoding: How the outputs are encoded.
        no_watermark: Write no watermark into the edited pixels, for this reason, which goes into the records.
        cache: Folder that keeps what does not depend on the target: the next edit of a clip begins there.
        on_corrupt: What to do at damaged frames: stop (error, if not given), or hold the last good one.
        dtype: Precision of the U-Nets, as of `keyface edit`.
        accelerator: cpu, gpu or auto.
        devices: How many processes, each on a device of its own; auto takes all GPUs, or one CPU process.
        num_nodes: Machines that SLURM or torchrun starts this on; of --sbatch the jobs of the array.
        wandb: Also tell a project of this name in W&B how far the batch is; WANDB_MODE=offline keeps it here.
        sbatch: Print a script for SLURM, `keyface batch ... --sbatch | sbatch`, instead of editing.
        overwrite: Replace outputs that are there and are not of this batch.

    Returns:
        1 where clips were set aside, else 0.

    Raises:
        ValueError: A clip of the manifest cannot be edited; each fault was told in a line.
    """
    given = dict(locals())
    if devices != "auto" and not (devices.isdecimal() and int(devices) > 0):
        raise ValueError(f"--devices is {devices!r}; it must be a number from 1 on, or auto")
    if num_nodes < 1:
        raise ValueError(f"--num-nodes is {num_nodes}; it must be at least 1")
    import keyface.commands.editing.batch_run as work
    from keyface.plugins import edits as installed

    with installed.with_file(categories):
        made = work.checked_batch(manifest, output, _clip_options(given), _networks(given), overwrite)
    if sbatch:
        print(work.script(made, _words(given), num_nodes, devices, accelerator), end="")
        return 0
    return work.run(made, accelerator, devices, num_nodes, wandb)


def status(outputs: Path, json: bool = False) -> None:
    """Say how far a batch is: a table of its clips.

    Args:
        outputs: Folder of the batch's outputs.
        json: Print JSON instead, as report.json has it, and nothing else on stdout.

    Raises:
        FileNotFoundError: No batch was begun there.
    """
    from keyface.batch.report import report_of, rows_of, summary
    from keyface.claims.batch import Batch
    from keyface.commands.console import columns, print_json

    report = report_of(Batch.load(outputs))
    if json:
        print_json(report)
        return
    print(columns(rows_of(report)))
    print(summary(report))


def retry(outputs: Path, clip: list[str] | None = None) -> None:
    """Let clips that were set aside or cancelled wait again; a running batch takes them up.

    Args:
        outputs: Folder of the batch's outputs.
        clip: Only this one, by the name of its output; may be repeated.

    Raises:
        FileNotFoundError: No batch was begun there.
        LookupError: It has no such clip.
    """
    from keyface.claims.batch import Batch
    from keyface.progress import say

    batch = Batch.load(outputs)
    ledger = batch.ledger()
    chosen = [name for key, name in _chosen(batch, clip) if ledger.forgive(key)]
    print(f"waiting again: {', '.join(chosen) or 'none'}")
    if chosen:
        say(f"next: repeat `keyface batch {batch.manifest} -o {outputs}`, unless it is running")


def cancel(outputs: Path, clip: list[str] | None = None) -> None:
    """Cancel the clips of a batch that are not done; running ones stop within a step and keep their state.

    Args:
        outputs: Folder of the batch's outputs.
        clip: Only this one, by the name of its output; may be repeated.

    Raises:
        FileNotFoundError: No batch was begun there.
        LookupError: It has no such clip.
    """
    from keyface.claims.batch import Batch

    batch = Batch.load(outputs)
    ledger = batch.ledger()
    ended, asked = [], []
    for key, name in _chosen(batch, clip):
        if (claim := ledger.take(key)) is not None:
            claim.cancel()
            ended.append(name)
        elif ledger.stop(key):
            asked.append(name)
    print(f"cancelled: {', '.join(ended) or 'none'}")
    if asked:
        print(f"asked to stop: {', '.join(asked)}")


def _chosen(batch: Any, names: list[str] | None) -> Iterator[tuple[str, str]]:
    """Yield key and output's name of the named clips; of all where none is named."""
    from keyface.configuration import did_you_mean

    known = {clip.output: clip.key for clip in batch.clips}
    for name in names or ():
        if name not in known:
            raise LookupError(
                f"--clip {name}: no such clip in {batch.folder}{did_you_mean(name, tuple(known))}; "
                "`keyface batch status` lists them"
            )
    for name in dict.fromkeys(names or known):
        yield known[name], name


def _clip_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given of the options that clips have."""
    own = {"manifest", "output", *NETWORKS, *MACHINE}
    if given["person"] is not None and Path(given["person"]).is_file():
        given = {**given, "person": str(Path(given["person"]).resolve())}
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
        if name not in own and value is not None and value != {}
    }


def _networks(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what edits, as JSON takes it, with absolute paths: other machines run in other folders."""
    found = {name: given[name] for name in NETWORKS if given[name] is not None}
    if Path(found["weights"]).exists():
        found["weights"] = Path(found["weights"])
    return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in found.items()}


def _words(given: Mapping[str, Any]) -> list[str]:
    """Return the command line that gives what was given, but for devices and nodes."""
    words = ["keyface", "batch", str(given["manifest"]), "-o", str(given["output"])]
    for name, parameter in inspect.signature(batch).parameters.items():
        value = given[name]
        if name in ("manifest", "output", "sbatch", "devices", "num_nodes") or value == parameter.default:
            continue
        words += _option(name.replace("_", "-"), value)
    return words


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [word for inner, each in value.items() for word in _option(f"{name}.{inner}", each)]
    if value is True and "." not in name:
        return [f"--{name}"]
    if isinstance(value, bool):
        value = str(value).lower()
    return [f"--{name}={'[' + ','.join(map(str, value)) + ']' if isinstance(value, list | tuple) else value}"]
