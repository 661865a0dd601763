"""Checkpoints that no training can go on from: one line each, before anything reaches the device."""

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from training_runs import WHOLE, fit_words

from keyface.cli.main import main
from keyface.commands.data.shards import render
from keyface.files import sha256
from keyface.weights.checksum import checksum_file

LORA = "{lora: {rank: 4}, ema_decay: 0.9, export: false}"

# Lightning's advice on logging intervals, which tiny runs do not heed.
pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


class Canary:
    """Unpickling it would write a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("canary", "w")


def test_no_damaged_foreign_or_hostile_checkpoint_reaches_the_device(
    place: Path,
    recognizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    render(place / "shards", count=8, size=32, samples_per_shard=4)
    data = (
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
    )
    noise = "--model.init_args.noisy_input={source: noise, steps: 3}"

    def fit(tuning: str, *words: str) -> int:
        return main(fit_words(recognizer_file, "notes", 2, *data, noise, *words, tuning=tuning))

    assert fit(WHOLE, "--experiment=first") == 0
    (good,) = (place / "runs/first/latest/checkpoints").glob("*step=2.ckpt")
    whole = good.read_bytes()
    Path("cut.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": Canary(), "optimizer_states": []}, "pickle.ckpt")
    shutil.copy(good, "whole.ckpt")
    Path("empty.ckpt").touch()
    Path("text.ckpt").write_text("hello " * 100)
    # One flipped bit of a weight: finite, and of the right shape.
    trained = torch.load(good, weights_only=True)["state_dict"]["unet.conv_in.weight"]
    at = whole.index(trained.numpy().tobytes())
    Path("flipped.ckpt").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    shutil.copy(f"{good}.sha256", "flipped.ckpt.sha256")
    assert Path(f"{good}.sha256").read_text() == f"{sha256(good)}  {good.name}\n"
    assert all(checksum_file(path).is_file() for path in good.parent.glob("*.ckpt")), "last.ckpt is a link"
    assert all(path.with_suffix("").is_file() for path in good.parent.glob("*.sha256")), "none is left over"

    reached: list[str] = []
    to_device = SingleDeviceStrategy.model_to_device

    def noted(self: SingleDeviceStrategy) -> None:
        reached.append(str(self.root_device))
        to_device(self)

    monkeypatch.setattr(SingleDeviceStrategy, "model_to_device", noted)
    for name, tuning, told in (
        ("cut.ckpt", WHOLE, "cut.ckpt"),
        ("pickle.ckpt", WHOLE, "pickle.ckpt"),
        ("empty.ckpt", WHOLE, "empty.ckpt"),
        ("text.ckpt", WHOLE, "text.ckpt"),
        ("flipped.ckpt", WHOLE, "flipped.ckpt: damaged: its SHA-256 is not the one in flipped.ckpt.sha256"),
        ("whole.ckpt", LORA, "Identity branch (ε1)"),
    ):
        capsys.readouterr()
        assert fit(tuning, "--experiment=second", f"--ckpt_path={name}") == 1
        (line,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("keyface: error:")]
        assert told in line
        assert reached == [], name
    assert not Path("canary").exists()
    assert not (place / "runs/second").exists()
    assert fit(WHOLE, "--experiment=second", "--ckpt_path=whole.ckpt", "--trainer.max_steps=3") == 0
    assert reached, "a good one does"
    Path("flipped.ckpt.sha256").unlink()  # as the message advises who has changed it on purpose
    assert fit(WHOLE, "--experiment=second", "--ckpt_path=flipped.ckpt", "--trainer.max_steps=3") == 0
