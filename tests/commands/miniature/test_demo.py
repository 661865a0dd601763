import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from keyface.commands.console import write_json
from keyface.commands.editing import edit as edit_command
from keyface.commands.miniature.demo import Stages, fit_words, show
from keyface.demo.trial import measure, write_clip_of
from keyface.metrics.temporal import temporal_loss
from keyface.plugins import edits
from keyface.video import VideoReader, write_clip


def colours(images: Tensor, landmarks: Tensor | None) -> Tensor:
    return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(images, 2).flatten(1) + 2, dim=-1)


class SeesGlasses:
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        yes = torch.ones(len(images), dtype=torch.bool)
        return {"Eyeglasses": yes, "Beard": ~yes}


def test_the_figures_of_a_perfect_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """edited.mp4 is the renderer's own answer here."""
    chosen = edits.select(["glasses", "beard"])
    trial = write_clip_of(chosen, tmp_path / "clip.mp4", frames=5, size=64, seed=0, fps=12.5)
    write_clip(tmp_path / "edited.mp4", trial.ground_truth, 12)
    sidecar = {
        "metrics": {"reconstruction_psnr": 30.5, "vae_psnr": 31.5},
        "prompts": {"source": trial.prompts.source, "target": trial.prompts.target},
    }
    (tmp_path / "edited.json").write_text(json.dumps(sidecar))
    report = measure(trial, tmp_path, {"colours": colours}, SeesGlasses())

    assert report["edit_success"] == pytest.approx(0.5)
    assert report["edit_success_by_category"] == {"glasses": 1.0, "beard": 0.0}
    assert report["reconstruction_psnr"] == 30.5
    assert 0 < report["identity_distance"] < 0.05
    assert report["frames"] == 5
    rendered = float(temporal_loss(trial.ground_truth, trial.flow, trial.valid))
    assert report["temporal_loss"] == pytest.approx(rendered, abs=0.01)  # but for the video codec
    assert report["outside_change"] < 0.02
    assert (tmp_path / "sheet.png").stat().st_size > 0

    write_json(tmp_path / "report.json", report)
    assert json.loads((tmp_path / "report.json").read_text())["temporal_loss"] == report["temporal_loss"]
    show(report | {"seconds": 3.0, "seconds_by_stage": {"edit": 3.0}}, tmp_path)
    printed = capsys.readouterr().out
    assert "edit success, glasses" in printed
    assert "autoencoder alone 31.5" in printed


def test_the_clip_is_of_somebody_who_lacks_the_edits(tmp_path: Path) -> None:
    trial = write_clip_of(edits.select(["glasses", "beard"]), tmp_path / "clip.mp4", 3, 32, seed=0, fps=10)
    assert "young man" in trial.prompts.source
    assert VideoReader(tmp_path / "clip.mp4").whole().shape == (3, 3, 32, 32)


def test_fits_go_through_the_shipped_configs(tmp_path: Path) -> None:
    words = fit_words("direction", tmp_path, steps=3, seed=5)
    configs = [Path(word) for flag, word in pairwise(words) if flag == "-c"]
    assert [path.name for path in configs] == ["direction.yaml", "demo_direction.yaml"]
    assert all(path.is_file() for path in configs)
    assert f"--data.init_args.shards={tmp_path / 'shards'}" in words


def test_stages_are_numbered_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(2)
    with stages("render", "faces"):
        pass
    with stages("edit", "a clip"):
        pass
    assert list(stages.seconds) == ["render", "edit"]
    assert "[2/2] edit: a clip" in capsys.readouterr().out


def test_the_demo_edits_by_the_same_function_as_keyface_edit() -> None:
    from keyface.cli.commands import COMMANDS, Command

    command = COMMANDS["edit"]
    assert isinstance(command, Command)
    assert command.resolve() is edit_command.edit
