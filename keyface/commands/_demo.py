"""The demo's parts: its training runs, its clip, its figures."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyface.commands.console import mean, table
from keyface.faces.recognition import Recognizer
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.metrics.locality import outside_change
from keyface.metrics.temporal import temporal_loss
from keyface.miniature.trials import FIRST_PERSON, Trial, next_person, trial
from keyface.models.judges import AttributeClassifier, edit_success
from keyface.pictures import before_after, save_png
from keyface.plugins import Category
from keyface.video import VideoReader, write_clip

PLAIN = {"Male": True, "Young": True, "No_Beard": True, "Wearing_Hat": False}
"""What the demo's person is like, but for what is edited: edits show best on a plain face."""

_CHUNK = 32


class Stages:
    """Says which part is running, and remembers how long each took.

    Args:
        total: How many parts there will be.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        """One part."""
        print(f"\n[{len(self.seconds) + 1}/{self.total}] {name}: {what}", flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 1)
        print(f"      {self.seconds[name]:.1f} s", flush=True)


def fit_words(branch: str, out: Path, steps: int, seed: int) -> list[str]:
    """The `lightning` command line that fits a branch for a few steps on the demo's shards."""
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


def write_clip_of(
    categories: Sequence[Category], path: Path, frames: int, size: int, seed: int, fps: float
) -> Trial:
    """Write the clip of somebody who lacks all the categories; gives the truth about it."""
    edited = {category.attribute for category in categories}
    plain = {label: value for label, value in PLAIN.items() if label not in edited}
    identity = next_person(categories, FIRST_PERSON, seed, also=plain)
    found = trial(identity, categories, frames, size, seed, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, found.frames, Fraction(fps).limit_denominator(1001))
    return found


def measure(
    found: Trial, out: Path, recognizers: Mapping[str, Recognizer], classifier: AttributeClassifier
) -> dict[str, Any]:
    """Measure edited.mp4 as it lies in the folder, and make the sheet.

    Args:
        found: The truth about clip.mp4.
        out: Holds clip.mp4, edited.mp4 and its sidecar edited.json.
        recognizers: Evaluation recognizers.
        classifier: Says whether the edits are there.
    """
    for judge in (*recognizers.values(), classifier):
        if isinstance(judge, torch.nn.Module):
            judge.to("cpu")  # the fits may have taken them to a GPU
    source, edited = read_clip(out / "clip.mp4"), read_clip(out / "edited.mp4")
    sidecar = json.loads((out / "edited.json").read_text())
    distances = {
        name: float(cosine_distance(embed_clip(each, edited), embed_clip(each, source)))
        for name, each in recognizers.items()
    }
    success = {category.name: edit_success(classifier, edited, category) for category in found.categories}
    names = ", ".join(category.name for category in found.categories)
    save_png(before_after([(names.replace(", ", ",\n"), source, edited)], columns=6), out / "sheet.png")
    return {
        "identity_distance": mean(list(distances.values())),
        "edit_success": mean(list(success.values())),
        "reconstruction_psnr": float(sidecar["metrics"]["reconstruction_psnr"]),
        "temporal_loss": float(temporal_loss(edited, found.flow, found.valid)),
        "autoencoder_psnr": float(sidecar["metrics"]["vae_psnr"]),
        "identity_distance_by_recognizer": distances,
        "edit_success_by_category": success,
        "edit_success_of_source": {
            category.name: edit_success(classifier, source, category) for category in found.categories
        },
        "temporal_loss_of_source": float(temporal_loss(source, found.flow, found.valid)),
        "outside_change": float(outside_change(edited, source, found.region)),
        "frames": len(edited),
        "identity": found.identity,
        "source": sidecar["prompts"]["source"],
        "target": sidecar["prompts"]["target"],
    }


def read_clip(path: Path) -> Tensor:
    """All frames of a short video, (T, 3, H, W) in [-1, 1]."""
    return torch.cat(list(VideoReader(path).chunks(_CHUNK)))


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
