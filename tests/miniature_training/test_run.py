"""`keyface miniature train` for real: tiny shares, a kill in the middle, what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from keyface.cli.main import main
from keyface.miniature import zoo
from keyface.miniature.population import world
from keyface.miniature.rendering import renderer
from keyface.models.backbones import find_backbone
from keyface.models.judges import find_judges


def words(folder: Path, *more: str) -> list[str]:
    return ["miniature", "train", "--device", "cpu", "-o", str(folder), *more]


def record(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((folder / "train.json").read_text())
    return found


# Few pictures are of few people, and few faces make few batches.
@pytest.mark.filterwarnings("ignore:No negative samples in targets", "ignore:.*smaller than the logging")
def test_networks_are_trained_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Autoencoder, base and ε1: each begins with what the one before gave, and all are in one folder."""
    out = tmp_path / "run"
    shares = "{autoencoder: 1, base: 1, identity: 1}"
    asked = words(out, "--minutes", "0.1", "--stages", "autoencoder,base,identity", "--shares", shares)
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert "[1/4] autoencoder: " in printed.out
    assert "[4/4] identity: " in printed.out
    plan, table = printed.out.split("[1/4]")[0], printed.out.split("stage  ")[-1]
    assert [line.split()[0] for line in plan.splitlines()[2:] if line] == [
        "autoencoder", "base", "shards", "identity",
    ]  # fmt: skip
    assert [line.split()[0] for line in table.splitlines()[2:6]] == [
        "autoencoder",
        "base",
        "shards",
        "identity",
    ]
    assert "psnr" in table
    weights = out / "weights"
    assert {path.name for path in weights.iterdir()} == {
        path.name for path in zoo.WEIGHTS.glob("[!_]*") if path.is_dir() and path.name not in ("direction",)
    }, "ε2 was trained from another base"

    for network in ("base/vae", "base", "identity"):
        card = json.loads((weights / network / "card.json").read_text())
        assert card["steps"] >= 1
        assert card["samples_seen"] == card["steps"] * (8 if network == "base" else 4)
        assert str(tmp_path) not in json.dumps(card["configuration"])
    card = json.loads((weights / "base" / "card.json").read_text())
    assert card["configuration"]["autoencoder"] == "base/vae"
    assert "val/loss_t500" in card["metrics"], "validated at the end"
    assert (
        json.loads((weights / "identity" / "card.json").read_text())["configuration"]["backbone"]
        == "miniature"
    )

    base = find_backbone(f"miniature:{weights}")
    picture = renderer.render_images(world.draw_faces(torch.tensor([1_000_001]), 0))
    assert base.decode_latents(base.encode_images(picture)).isfinite().all()
    packaged = zoo.backbone().vae.state_dict()
    assert any(not torch.equal(value, packaged[name]) for name, value in base.vae.state_dict().items())
    zoo.identity_unet(base.unet)  # the packaged adapter has the same layers
    from keyface.diffusion.backbone import load_unet

    load_unet(weights / "identity", base.unet)
    assert find_judges(f"miniature:{weights}").classifier is not None

    before = (weights / "base" / "card.json").stat().st_mtime_ns
    assert main(asked) == 0, "done already"
    assert (weights / "base" / "card.json").stat().st_mtime_ns == before
    assert "[1/4]" not in capsys.readouterr().out


def test_a_killed_run_goes_on_with_the_step_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    asked = words(out, "--minutes", "0.15", "--stages", "face_finder", "--checkpoints", "0.02")
    command = [sys.executable, "-P", "-m", "keyface", *asked]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = out / "work" / "face_finder"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not (saved := list(runs.glob("*/checkpoints/*.ckpt"))) and process.poll() is None:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert saved
    assert not (out / "weights" / "face_finder").exists()
    (first,) = (path for path in runs.glob("*/checkpoints") if not path.parent.is_symlink())
    checkpoint = max(first.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    state = torch.load(checkpoint, weights_only=True)
    elapsed = state["callbacks"]["TimeLimit"]["time_elapsed"]["train"]
    budget = record(out)["seconds"]["face_finder"]
    assert 0 < elapsed < budget

    assert main(words(out, "--minutes", "0.15", "--stages", "clip")) == 1
    assert "an unfinished run has shares {'face_finder': 1.0} (now {'clip': 1.0})" in capsys.readouterr().err

    assert main(asked) == 0
    latest = runs / "latest" / "checkpoints"
    (second,) = (path for path in runs.glob("*/checkpoints") if path not in (first, latest))
    with (second.parent / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/middles"]]
    assert steps[0] == state["global_step"], "the step that would have come next"
    card = json.loads((out / "weights" / "face_finder" / "card.json").read_text())
    assert card["steps"] > state["global_step"]
    assert card["samples_seen"] == 4 * card["steps"]
    trained = json.loads((second.parent / "time.json").read_text())["seconds"]
    assert trained == pytest.approx(budget, abs=2.5), "the time of both together"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--minutes", "0"], "--minutes is 0.0, it must be above 0"),
        (["--stages", "basis"], "'basis' is none (did you mean 'base'?)"),
        (["--stages", "base", "--shares", "{base: -1}"], "base is -1.0, it must be above 0"),
        (["--checkpoints", "0"], "--checkpoints is 0.0, it must be above 0"),
        (["--device", "tpu"], "--device tpu: cannot compute there; devices here: cpu"),
        (["--device", "auto", "--minutes", "0"], "--minutes is 0.0, it must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "run", *more)) != 0
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("keyface: error:")]
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "work").mkdir()
    for more in ([], ["--restart"]):
        assert main(words(tmp_path, *more)) == 1
        assert "holds other files and no run (train.json)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
