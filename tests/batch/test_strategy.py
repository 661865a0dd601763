"""Processes that Lightning starts, or SLURM and torchrun have started, and that never wait for each other."""

import json
import os
import shlex
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from keyface.batch.slurm import job_array
from keyface.batch.strategy import IndependentStrategy
from keyface.claims.batch import Batch

CLIPS = 10
"""So many that the first process is not done when the second one has started."""

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "keyface-batch",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "7",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
}


@pytest.mark.parametrize("environment", [SLURM, TORCHRUN], ids=["SLURM", "torchrun"])
def test_the_environment_says_which_process_this_is(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        num_nodes=2,
        strategy=IndependentStrategy(),
        logger=False,
        default_root_dir=tmp_path,
    )
    assert (trainer.global_rank, trainer.local_rank, trainer.world_size) == (3, 1, 4)
    assert trainer.strategy.launcher is not None
    assert trainer.strategy.launcher.launch(torch.distributed.is_initialized) is False
    assert trainer.strategy.broadcast("own") == "own"
    assert trainer.strategy.reduce_boolean_decision(False, all=False) is False


def test_the_processes_of_one_machine_outlive_each_other(weights: Path, video: Path, tmp_path: Path) -> None:
    """The second one is killed when it holds a clip; the first one takes it over."""
    (tmp_path / "list.csv").write_text(
        "video,output\n" + "".join(f"in.mp4,{number}.mp4\n" for number in range(CLIPS))
    )
    words = [
        "batch",
        "list.csv",
        "-o",
        "out",
        "--weights",
        "weights",
        "--source",
        "a man",
        "--crop",
        "centre",
    ]
    words += ["--edits", "glasses", "--steps", "30", "--accelerator", "cpu", "--devices", "2"]
    process = subprocess.Popen(
        [Path(sysconfig.get_path("scripts")) / "keyface", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    other = None
    deadline = time.monotonic() + 300
    while other is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        other = next(iter(holders(tmp_path / "out") - {process.pid}), None)
    if other is not None:
        os.kill(other, signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert other is not None, said
    assert process.returncode == 0, said
    assert f"{CLIPS} clips: {CLIPS} done" in said
    assert {path.name for path in (tmp_path / "out").glob("*.mp4")} == {
        f"{number}.mp4" for number in range(CLIPS)
    }
    records = [json.loads((tmp_path / "out" / f"{number}.json").read_text()) for number in range(CLIPS)]
    assert len({record["output"]["unsigned_sha256"] for record in records}) == 1


def holders(outputs: Path) -> set[int]:
    """Return the processes that hold clips."""
    try:
        batch = Batch.load(outputs)
    except FileNotFoundError:
        return set()
    ledger = batch.ledger()
    running = {key: each.top for key, each in ledger.histories().items() if each.state == "running"}
    return {int(ledger.content(key, top, "claim").get("pid", 0)) for key, top in running.items()} - {0}


def test_the_script_for_slurm_runs_in_a_shell(tmp_path: Path) -> None:
    words = ["keyface", "batch", "my list.csv", "-o", "out", "--prompt=an old man"]
    script = job_array(words, Path("out"), jobs=3, devices=2, gpus=True, place=tmp_path)
    options = [line for line in script.splitlines() if line.startswith("#SBATCH ")]
    assert {"--array=0-2", "--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=2", "--requeue"} <= {
        option.removeprefix("#SBATCH ") for option in options
    }
    (tmp_path / "srun").write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    ran = subprocess.run(
        ["bash"],
        input=script,
        text=True,
        capture_output=True,
        check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    told = ran.stdout.splitlines()
    assert told[0] == str(tmp_path)
    assert told[3:] == [*words, "--devices", "2", "--num-nodes", "1"]
    assert shlex.join(words) in script
