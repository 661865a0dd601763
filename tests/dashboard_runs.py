"""Folders of runs as `lightning fit` leaves them, with figures that are known."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from keyface.video import write_clip

MakeRun = Callable[..., Path]

PROMPTS = ("a photo of a man, without glasses, smiling", "a photo of a man, wearing glasses, smiling")


def edited_clip(path: Path, level: float) -> None:
    """A clip whose left half is dark and whose right half, the edit, is of a grey level in [-1, 1]."""
    frames = torch.full((2, 3, 16, 32), -0.8)
    frames[..., 16:] = level
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, frames, 5)


@pytest.fixture
def make_run() -> MakeRun:
    """Writes a run of 4 steps with edits at 0, 2 and 4; options of its config are keyword arguments."""

    def make(
        folder: Path,
        started: str = "2026-01-01T00:00:00+0000",
        steps: Sequence[int] = (0, 2, 4),
        record: bool = True,
        **config: Any,
    ) -> Path:
        folder.mkdir(parents=True)
        rows: list[dict[str, float]] = []
        for step in steps:
            success, distance = step / 4, 0.1 + step / 40
            rows.append({"step": step, "edit/edit_success": success, "edit/edit_success/glasses": success})
            rows[-1] |= {"edit/identity_distance": distance, "edit/reconstruction_psnr/glasses": 30.0}
            rows[-1] |= {f"edit/identity_distance/{name}": distance for name in ("glasses", "vgg", "arc")}
            place = folder / "edits" / f"step-{step:06d}"
            edited_clip(place / "glasses-0.mp4", step / 4)
            if record:
                measures = {"edit_success": success, "identity_distance": distance}
                said = {"name": "glasses-0", "categories": ["glasses"], "measures": measures}
                said |= dict(zip(("source", "target"), PROMPTS, strict=True))
                (place / "edits.json").write_text(json.dumps([said]))
        rows += [{"step": step, "train/loss": 1.0 - step / 10} for step in range(min(steps), max(steps))]
        rows += [{"step": 2, "train/loss_by_timestep/000-199": 0.5}, {"step": 3, "train/odd": float("nan")}]
        names = sorted({name for row in rows for name in row})
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        environment = {"command": ["lightning", "fit", "-c", "a b.yaml"], "started": started}
        (folder / "environment.json").write_text(json.dumps(environment))
        return folder

    return make
