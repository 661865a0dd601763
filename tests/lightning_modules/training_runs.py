"""Tiny trainings of ε1: their options, how several processes do one, and what they leave."""

import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Fork

CONFIG = Path(__file__).parents[2] / "configs" / "miniature" / "identity.yaml"
MODULE = "recorded_training"
CACHED = "--model.init_args.noisy_input={source: cached}"
TRIED_AGAIN = pytest.mark.flaky(reruns=1, only_rerun="CrashedError")
WHOLE = "{lora: null, ema_decay: 0.9, export: false}"


class CrashedError(Exception):
    """A process ended in compiled code."""


def run(words: list[str], processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Train in processes of their own, in this folder and with this environment.

    The processes find each other as those of a cluster do, by variables of the environment; without these
    Lightning would start all but the first as programs.

    Returns:
        The status of the first process that failed, negative where a signal ended it, or 0; what all said.

    Raises:
        CrashedError: One of several ended in compiled code. PyTorch's threads for gloo do so once in some
            hundred runs, so tests with this error are tried again, see `TRIED_AGAIN`.
    """
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    cluster = [{**meeting, "NODE_RANK": "0", "LOCAL_RANK": str(rank)} for rank in range(processes)]
    ranks = [Fork(words, variables if processes > 1 else {}) for variables in cluster]
    ended = [rank.wait() for rank in ranks]
    said = ("".join(getattr(each, stream) for each in ended) for stream in ("stdout", "stderr"))
    crashes = {-signal.SIGABRT, -signal.SIGSEGV}
    if processes > 1 and any(each.returncode in crashes for each in ended):
        raise CrashedError("\n".join(each.stderr[-4000:] for each in ended))
    return subprocess.CompletedProcess(
        words, next((each.returncode for each in ended if each.returncode), 0), *said
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def fit_words(
    recognizer: Path,
    notes: str,
    steps: int,
    *more: str,
    dies_at: int = 0,
    tuning: str = WHOLE,
    last: str = "link",
) -> list[str]:
    """The words of a training that notes its steps and keeps a checkpoint of each, with links to the last."""
    recorder = f"{{class_path: {MODULE}.Recorder, init_args: {{folder: {notes}, dies_at: {dies_at}}}}}"
    checkpoints = (
        "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {every_n_train_steps: 1, "
        f"save_last: {last}, save_top_k: -1, monitor: step, mode: max}}}}"
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


def colour_words(notes: str, steps: int, *more: str, last: str = "link") -> list[str]:
    """The same for a model that takes no time, `MeanColour`, with batches of 2 of the folder `shards`."""
    words = fit_words(Path(), notes, steps, last=last)
    start = words.index(str(CONFIG)) - 1
    return [
        words[0],
        f"--model={MODULE}.MeanColour",
        "--data=keyface.datamodules.shards.ShardsDataModule",
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
        *(word for word in words[start + 2 :] if not word.startswith("--model")),
        *more,
    ]


def only_run(experiment: str) -> Path:
    """The folder of an experiment's only run."""
    (folder,) = (run for run in Path("runs", experiment).iterdir() if not run.is_symlink())
    return folder


def last_checkpoint(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def assert_same_end(ours: Path, theirs: Path) -> None:
    """Two runs' last checkpoints hold the same weights, averages and state of the optimizer."""
    mine, other = last_checkpoint(ours), last_checkpoint(theirs)
    for name, value in mine["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    for number, state in mine["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other["optimizer_states"][0]["state"][number][name]), (number, name)


def given_together(ranks: list[list[dict[str, Any]]]) -> str:
    """The option that gives one process, batch by batch, the samples that two processes saw."""
    together = [ours["keys"] + theirs["keys"] for ours, theirs in zip(*ranks, strict=True)]
    return f"--data={{class_path: {MODULE}.GivenBatches, init_args: {{shards: shards, keys: {together}}}}}"


def assert_mean_losses(alone: list[dict[str, Any]], ranks: list[list[dict[str, Any]]]) -> None:
    for one, ours, theirs in zip(alone, *ranks, strict=True):
        assert one["loss"] == pytest.approx((ours["loss"] + theirs["loss"]) / 2, rel=1e-4)
