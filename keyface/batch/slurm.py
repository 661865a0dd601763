"""A script for SLURM that edits a batch by jobs which need not run at the same time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from keyface.claims.batch import WORK

_SECONDS_TO_STOP = 60


def job_array(words: Sequence[str], folder: Path, jobs: int, devices: int, gpus: bool, place: Path) -> str:
    """Return the script.

    Each job of the array has one node. Clips are claimed on the disk, so that jobs may begin, end and be
    preempted at any time. SIGTERM comes a minute before the end, and lets a clip be given back; a job that is
    killed without it is noticed.

    Args:
        words: The command of each job, without devices and nodes.
        folder: Of the outputs.
        jobs: Jobs of the array.
        devices: Devices of a job.
        gpus: Whether they are GPUs.
        place: Folder in which the command runs.
    """
    log = (folder if folder.is_absolute() else place / folder) / WORK
    options = [
        "--job-name=keyface-batch",
        f"--array=0-{jobs - 1}",
        "--nodes=1",
        f"--ntasks-per-node={devices}",
        *([f"--gpus-per-node={devices}"] if gpus else []),
        "--cpus-per-task=4",
        "--time=24:00:00",
        f"--signal=TERM@{_SECONDS_TO_STOP}",
        "--requeue",
        "--open-mode=append",
        f"--output={log}/slurm-%A_%a.log",
    ]
    command = shlex.join([*words, "--devices", str(devices), "--num-nodes", "1"])
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            "# One node a job; clips are claimed on the disk, so jobs may come and go.",
            "# Partition, account and time are your cluster's: change them above, or give them to sbatch.",
            "set -euo pipefail",
            f"cd {shlex.quote(str(place))}",
            f"srun --kill-on-bad-exit=0 --wait=0 {command}",
            "",
        ]
    )
