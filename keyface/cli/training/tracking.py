"""What loggers are told of a run: its whole config, its curves, its name in W&B, which W&B run it goes on."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from keyface.callbacks.dashboard import finish_runs, is_online, wandb_identity
from keyface.callbacks.news import RunNews
from keyface.callbacks.training_curves import TrainingCurves
from keyface.doctor.machine import has_wandb_login
from keyface.files import write_text
from keyface.untrusted import read_json_object, read_yaml

IDENTITY_FILE = "wandb.json"
"""In a run's folder: the id and name of its W&B run."""

VERSIONS = ("keyface", "torch", "lightning", "diffusers", "transformers", "peft", "wandb")
"""Packages whose versions decide a run; environment.json has all of them."""


def git_state(folder: Path) -> dict[str, Any]:
    """Return the `commit` that a folder's repository stands at and whether files were `changed` since.

    Both are None where the folder is in no repository, or git is not installed.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if commit is None else bool(changed)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def require_login(loggers: Sequence[Logger]) -> None:
    """Refuse W&B online where nobody is logged in: it would ask on a terminal, and elsewhere fail late.

    Raises:
        ValueError: Nobody is.
    """
    if any(map(is_online, loggers)) and not has_wandb_login():
        raise ValueError(
            "W&B is online and nobody is logged in here: run `wandb login`, or set WANDB_MODE=offline "
            "(`wandb sync` sends the run later), or --trainer.logger=true for metrics.csv alone"
        )


def with_followers(callbacks: Callback | list[Callback] | None) -> list[Callback]:
    """Return the callbacks and, unless they are among them, the training's curves and its news for W&B."""
    chosen = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    missing = [
        kind for kind in (TrainingCurves, RunNews) if not any(isinstance(each, kind) for each in chosen)
    ]
    return [*chosen, *(kind() for kind in missing)]


def log_configuration(trainer: Trainer, config: Path, record: Mapping[str, Any]) -> None:
    """Give every logger all that decides a run, beside the model's own hyperparameters.

    Args:
        trainer: Whose loggers.
        config: The resolved config, YAML; its names are those of the loggers' config.
        record: What environment.json says; a part of it goes under `run`.
    """
    values = {**read_yaml(config), "run": _run_facts(trainer, record)}
    for logger in trainer.loggers:
        logger.log_hyperparams(values)


def _run_facts(trainer: Trainer, record: Mapping[str, Any]) -> dict[str, Any]:
    cuda = trainer.strategy.root_device.type == "cuda"
    packages = record["packages"]
    return {
        "folder": str(trainer.default_root_dir),
        "command": shlex.join(record["command"]),
        "git": record["git"],
        "python": record["python"],
        "packages": {name: packages[name] for name in VERSIONS if name in packages},
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gpu": torch.cuda.get_device_name(trainer.strategy.root_device) if cuda else None,
    }


def keep_identity(trainer: Trainer, folder: Path) -> None:
    """Write which W&B run this is into its folder, so that a run that goes on from it finds it."""
    identity = wandb_identity(trainer)
    if identity is not None:
        write_text(folder / IDENTITY_FILE, json.dumps(identity, indent=1) + "\n")


def kept_identity(checkpoint: str | None) -> dict[str, str]:
    """Return the id and name of the W&B run that wrote a checkpoint; empty where there was none.

    Args:
        checkpoint: Path of `<run>/checkpoints/<name>.ckpt`, or of a copy with wandb.json beside it.
    """
    if checkpoint is None:
        return {}
    for folder in Path(checkpoint).resolve().parents[:2]:
        if (folder / IDENTITY_FILE).is_file():
            kept = read_json_object(folder / IDENTITY_FILE)
            missing = [name for name in ("id", "name") if not isinstance(kept.get(name), str)]
            if missing:
                raise ValueError(
                    f"{folder / IDENTITY_FILE}: lacks {' and '.join(missing)}; remove it, and the run begins "
                    "a new one in W&B"
                )
            return {name: kept[name] for name in ("id", "name")}
    return {}


def wandb_names(
    experiment: str, run: Path, job: str, model: LightningModule, identity: Mapping[str, str]
) -> dict[str, str]:
    """Return W&B's environment variables that name a run; arguments of the logger have precedence.

    Args:
        experiment: Becomes the group.
        run: The run's folder.
        job: Becomes the job type: the branch in training.
        model: Its base is a tag.
        identity: Of the W&B run to go on with; empty for a new one.
    """
    backbone = model.hparams.get("backbone")
    tags = ["keyface", job, *([Path(backbone).name] if isinstance(backbone, str) else [])]
    title = getattr(model, "title", type(model).__name__)
    names = {
        "WANDB_NAME": identity.get("name", f"{experiment}/{run.name}"),
        "WANDB_RUN_GROUP": experiment,
        "WANDB_JOB_TYPE": job,
        "WANDB_TAGS": ",".join(tag.replace(",", " ") for tag in dict.fromkeys(tags)),
        "WANDB_NOTES": f"{title}: {shlex.join(_command(sys.argv))}",
    }
    return names | ({"WANDB_RUN_ID": identity["id"]} if identity else {})


def job_type(subcommand: str, model: LightningModule) -> str:
    """Return what a run does, in one word: the branch that it trains, else the command."""
    return type(model).__name__.removesuffix("Module").lower() if subcommand == "fit" else subcommand


def _command(words: Sequence[str]) -> list[str]:
    return [Path(words[0]).name, *words[1:]]


@contextmanager
def wandb_environment(names: Mapping[str, str]) -> Iterator[None]:
    """Set W&B's variables where the user, or a sweep's agent, has set none; end its runs afterwards."""
    own = {name: value for name, value in names.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    except BaseException:
        finish_runs(failed=True)
        raise
    else:
        finish_runs(failed=False)
    finally:
        for name in own:
            os.environ.pop(name, None)
