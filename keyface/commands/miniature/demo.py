"""`keyface demo`: everything once, on the miniature: render data, train both branches, edit a video."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from keyface.commands.console import table

EDITS = "old,gray-hair"


def demo(
    output: Path = Path("runs/demo"),
    faces: int = 256,
    fit_steps: int = 12,
    edits: str = EDITS,
    seconds: float = 3.0,
    fps: float = 25.0,
    steps: int = 20,
    seed: int = 2,
    *,
    lightning: Callable[[Sequence[str]], int],
) -> None:
    """Train both branches briefly, and edit a clip with the branches that come with keyface.

    Leaves clip.mp4, edited.mp4, compare.mp4, sheet.png and report.json, the shards and the two training runs.
    Repeating it replaces them.

    Args:
        output: Folder for everything.
        faces: Faces to render for training.
        fit_steps: Training steps of each branch; the shipped branches were trained for longer.
        edits: Categories separated by commas, all applied at once to somebody who lacks them.
        seconds: Length of the clip.
        fps: Frames a second of the clip.
        steps: DDIM steps of the edit.
        seed: Of the data, the training and the clip.
        lightning: Runs a `lightning` command line and returns its exit status.
    """
    from keyface.commands.console import write_json
    from keyface.commands.data import shards
    from keyface.commands.editing import edit
    from keyface.demo.trial import measure, write_clip_of
    from keyface.ending import end_as
    from keyface.miniature import zoo
    from keyface.plugins import edits as registry

    stages = Stages(5)
    categories = registry.select([name.strip() for name in edits.split(",")])
    with stages("render", f"{faces} faces of the miniature into {output / 'shards'}"):
        shards.render(output / "shards", count=faces, seed=seed, samples_per_shard=max(1, faces // 4))
    for branch, symbol in (("identity", "ε1"), ("direction", "ε2")):
        with stages(f"fit {branch}", f"{symbol}, {fit_steps} steps from the base"):
            status = lightning(fit_words(branch, output, fit_steps, seed))
            end_as(status)
            if status != 0:
                raise ValueError(f"the fit of the {branch} branch failed; its message is above")
    with stages(
        "edit", f"{seconds:g} s of somebody who was never trained on, with the shipped ε1 and ε2: {edits}"
    ):
        trial = write_clip_of(
            categories, output / "clip.mp4", round(seconds * fps), zoo.backbone().image_size, seed, fps
        )
        edit.edit(
            output / "clip.mp4",
            output / "edited.mp4",
            edits=edits,
            compare=output / "compare.mp4",
            steps=steps,
            overwrite=True,
        )
    with stages("measure", "with networks that neither branch was trained against"):
        report = measure(trial, output, zoo.recognizers(), zoo.attribute_classifier())
    report |= {"seconds": sum(stages.seconds.values()), "seconds_by_stage": stages.seconds}
    write_json(output / "report.json", report)
    show(report, output)


class Stages:
    """Say which part is running, and remember how long each took.

    Args:
        total: How many parts there will be.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        """Say that a part begins, and how long it took when it ends."""
        print(f"\n[{len(self.seconds) + 1}/{self.total}] {name}: {what}", flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 1)
        print(f"      {self.seconds[name]:.1f} s", flush=True)


def fit_words(branch: str, out: Path, steps: int, seed: int) -> list[str]:
    """Return the `lightning` command line that fits a branch for a few steps on the demo's shards."""
    configs = files("keyface.configs.miniature")
    return [
        "fit",
        *("-c", str(configs / f"{branch}.yaml")),
        *("-c", str(configs / f"demo_{branch}.yaml")),
        f"--data.init_args.shards={out / 'shards'}",
        f"--trainer.max_steps={steps}",
        f"--trainer.val_check_interval={steps}",
        f"--runs={out}",
        f"--experiment={branch}",
        f"--seed_everything={seed}",
    ]


def show(report: Mapping[str, Any], out: Path) -> None:
    """Print the report as a table, with what each figure is to be compared with."""
    rows = [
        *(
            _row(f"identity distance, {name}", value, "0 is the same person, 1 is unrelated")
            for name, value in report["identity_distance_by_recognizer"].items()
        ),
        *(
            _row(f"edit success, {name}", value, f"source {report['edit_success_of_source'][name]:.2f}")
            for name, value in report["edit_success_by_category"].items()
        ),
        _row(
            "reconstruction PSNR, dB",
            report["reconstruction_psnr"],
            f"autoencoder alone {report['autoencoder_psnr']:.1f}",
        ),
        _row("temporal loss", report["temporal_loss"], f"source {report['temporal_loss_of_source']:.4f}"),
        _row(
            "change outside the regions", report["outside_change"], "of intensities in [0, 1], codec included"
        ),
        *(_row(f"seconds, {name}", value, "") for name, value in report["seconds_by_stage"].items()),
        _row("seconds, all", report["seconds"], ""),
    ]
    print(f"\n{table(rows)}\n")
    for name in ("clip.mp4", "edited.mp4", "compare.mp4", "sheet.png", "report.json"):
        print(out / name)


def _row(measure: str, value: float, compare: str) -> dict[str, object]:
    return {"measure": measure, "value": float(value), "to compare": compare}
