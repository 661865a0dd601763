"""Faults 30 and 31: ε1's training is the same when it is killed and resumed, and on two processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from keyface.cli import main
from keyface.commands.shards import render
from keyface.datamodules.shard_render import Rendered, render_shards
from keyface.diffusion.backbone import load_unet

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "miniature" / "identity.yaml"
MODULE = "recorded_training"

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


@pytest.fixture
def place(
    tmp_path: Path, folder_backbone: Any, recognizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with a base; configs may name what is in `recorded_training`, here and in other processes."""
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(tmp_path / "base" / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("KEYFACE_TRUST", MODULE)
    # The last bit of a sum depends on the number of threads, here as in the processes that a test starts.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


WHOLE = "{lora: null, ema_decay: 0.9, export: false}"
EXPORTED = "{lora: null, ema_decay: 0.9, export: true}"
SHARDED = (
    "{class_path: lightning.pytorch.strategies.ModelParallelStrategy, init_args: "
    "{data_parallel_size: 2, tensor_parallel_size: 1, save_distributed_checkpoint: false}}"
)
DROPOUT = "{lora: {rank: 4, dropout: 0.1}, ema_decay: 0.9, gradient_checkpointing: true, export: false}"


def fit_words(
    recognizer: Path, notes: str, steps: int, *more: str, dies_at: int = 0, tuning: str = WHOLE
) -> list[str]:
    recorder = f"{{class_path: {MODULE}.Recorder, init_args: {{folder: {notes}, dies_at: {dies_at}}}}}"
    checkpoints = (
        "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {every_n_train_steps: 1, "
        "save_last: true, save_top_k: 1, monitor: step, mode: max}}"
    )
    return [
        *("fit", "-c", str(CONFIG)),
        "--model.init_args.backbone=base",
        f"--model.init_args.identity_network=arcface:{recognizer}",
        "--model.init_args.evaluators=null",
        f"--model.init_args.tuning={tuning}",
        "--trainer.accelerator=cpu",
        f"--trainer.callbacks=[{recorder}, {checkpoints}]",
        f"--trainer.max_steps={steps}",
        "--trainer.limit_val_batches=0",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        *more,
    ]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("keyface")
    return subprocess.run(
        [str(script), *words], capture_output=True, text=True, timeout=900, env=dict(os.environ)
    )


@pytest.mark.parametrize("tuning", [WHOLE, DROPOUT], ids=["whole", "dropout"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    place: Path, recognizer_file: Path, tuning: str
) -> None:
    """Sample ids and losses of every step, to the last bit, across the end of an epoch."""
    from recorded_training import notes

    render(place / "shards", count=12, size=32, samples_per_shard=4)
    data = (
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
        "--model.init_args.noisy_input={source: inverted, steps: 3}",
    )
    assert main(fit_words(recognizer_file, "whole", 8, *data, "--experiment=whole", tuning=tuning)) == 0
    whole = notes(place / "whole")
    assert [each["step"] for each in whole] == list(range(1, 9))
    assert len({each["loss"] for each in whole}) == 8

    killed = run(fit_words(recognizer_file, "cut", 8, *data, "--experiment=cut", dies_at=4, tuning=tuning))
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert notes(place / "cut") == whole[:4]

    words = fit_words(
        recognizer_file, "rest", 8, *data, "--experiment=cut", "--ckpt_path=last", tuning=tuning
    )
    assert main(words) == 0
    assert notes(place / "rest") == whole[3:], "step 4 had no checkpoint and is done again"


def given_together(ranks: list[list[dict[str, Any]]]) -> str:
    """The option that gives one process, batch by batch, the samples that two processes saw."""
    together = [ours["keys"] + theirs["keys"] for ours, theirs in zip(*ranks, strict=True)]
    return f"--data={{class_path: {MODULE}.GivenBatches, init_args: {{shards: shards, keys: {together}}}}}"


def assert_mean_losses(alone: list[dict[str, Any]], ranks: list[list[dict[str, Any]]]) -> None:
    for one, ours, theirs in zip(alone, *ranks, strict=True):
        assert one["loss"] == pytest.approx((ours["loss"] + theirs["loss"]) / 2, rel=1e-4)


def test_two_processes_train_as_one_with_twice_the_batch(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    from recorded_training import notes

    settings = Rendered(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    cached = "--model.init_args.noisy_input={source: cached}"
    two = run(
        fit_words(
            recognizer_file,
            "two",
            4,
            cached,
            "--data.init_args.shards=shards",
            "--data.init_args.batch_size=2",
            "--data.init_args.val_fraction=0",
            "--data.init_args.workers=2",
            "--data.init_args.resampled=false",
            "--data.init_args.with_latents=true",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        )
    )
    assert two.returncode == 0, two.stderr[-2000:]
    ranks = [notes(place / "two", rank) for rank in (0, 1)]
    seen = [key for rank in ranks for note in rank for key in note["keys"]]
    assert len(seen) == len(set(seen)) == 16, "ranks and workers see samples of their own"

    assert main(fit_words(recognizer_file, "one", 4, cached, given_together(ranks))) == 0
    assert_mean_losses(notes(place / "one"), ranks)
    assert len({note["loss"] for note in ranks[0]}) == 4


def test_two_processes_share_the_weights_and_train_as_one_with_twice_the_batch(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    """FSDP2: same losses, and checkpoint and export hold the weights whole."""
    from recorded_training import notes

    settings = Rendered(count=8, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    cached = "--model.init_args.noisy_input={source: cached}"
    data = (
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
        "--data.init_args.workers=1",
        "--data.init_args.with_latents=true",
    )
    spread = ("--trainer.devices=2", f"--trainer.strategy={SHARDED}", "--experiment=two")
    two = run(fit_words(recognizer_file, "two", 2, cached, *data, *spread, tuning=EXPORTED))
    assert two.returncode == 0, two.stderr[-2000:]
    ranks = [notes(place / "two", rank) for rank in (0, 1)]

    words = fit_words(
        recognizer_file, "one", 2, cached, given_together(ranks), "--experiment=one", tuning=EXPORTED
    )
    assert main(words) == 0
    assert_mean_losses(notes(place / "one"), ranks)

    (sharded,), (alone,) = ((place / "runs" / name).iterdir() for name in ("two", "one"))
    kept, expected = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (sharded, alone)
    )
    assert kept.keys() == expected.keys()
    for name, value in kept.items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-3, msg=name)
    ours, theirs = (load_unet(run / "export").state_dict() for run in (sharded, alone))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=2e-5, rtol=1e-3, msg=name)
