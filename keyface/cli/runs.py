"""A run's folder: its name, its record, its checkpoints, and what is told of it when it ends."""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import OmegaConf
from torch import Tensor

from keyface.cli.training.tracking import IDENTITY_FILE, git_state, keep_identity, log_configuration

RUN_VARIABLE = "KEYFACE_RUN"
LATEST = "latest"
"""Name of the link to the experiment's newest run."""

RECORDS = {"config.yaml", "environment.json", "hparams.yaml", "metrics.csv", IDENTITY_FILE}
"""What a run's folder holds before anything is learned."""

BRANCH_OPTIONS = {"IdentityModule": "--identity", "DirectionModule": "--direction"}
"""Module → the option of `keyface edit` that takes its export."""


@contextmanager
def one_run_folder() -> Iterator[None]:
    """Let the processes that a multi-GPU launcher starts inherit this run's folder, and only those."""
    inherited = os.environ.get(RUN_VARIABLE)
    try:
        yield
    finally:
        if inherited is None:
            os.environ.pop(RUN_VARIABLE, None)


def first_to_tell(message: str) -> bool:
    """Tell whether no other process of this run has said the same error.

    The first of several processes leaves it in the run's folder as error.txt, whole at once.

    Args:
        message: The error.
    """
    folder = os.environ.get(RUN_VARIABLE)
    if folder is None or "LOCAL_RANK" not in os.environ:  # which launchers set; WORLD_SIZE is gone by now
        return True
    told = Path(folder, "error.txt")
    own = Path(folder, f"error.{os.getpid()}")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(message + "\n")
    try:
        os.link(own, told)
    except FileExistsError:
        return told.read_text() != message + "\n"
    finally:
        own.unlink()
    return True


class RunRecord(SaveConfigCallback):
    """Save the resolved config and the environment to the run's folder when a run starts."""

    _pointed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml and environment.json: command, versions, machine; enough to repeat the run."""
        folder = trainer.log_dir  # asked on every process, since they agree on it together
        if self.already_saved or folder is None or not trainer.is_global_zero:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        config = self.parser.dump(self.config, skip_unset=False, format="yaml")
        Path(folder, "config.yaml").write_text(config)
        record = {
            "command": sys.argv,
            "stage": stage,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "devices": trainer.num_devices,
            "git": git_state(Path.cwd()),
            "packages": {
                distribution.name: distribution.version
                for distribution in sorted(distributions(), key=lambda each: each.name.lower())
            },
        }
        Path(folder, "environment.json").write_text(json.dumps(record, indent=1) + "\n")
        log_configuration(trainer, Path(folder, "config.yaml"), record)
        keep_identity(trainer, Path(folder))
        self.already_saved = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Let `latest` beside the run's folder point to it, once there was a step."""
        if not self._pointed and trainer.is_global_zero:
            point_latest(Path(trainer.default_root_dir))
        self._pointed = True


def loggers(configured: Logger | list[Logger] | bool | None, folder: str) -> list[Logger] | Literal[False]:
    """Return the configured loggers after one that writes metrics.csv into the run's folder.

    It comes first because Lightning takes the first logger's folder for the config and checkpoints.
    """
    if configured is False:
        return False
    if configured is None or configured is True:
        chosen: list[Logger] = []
    else:
        chosen = [configured] if isinstance(configured, Logger) else list(configured)
    if any(isinstance(logger, CSVLogger) for logger in chosen):
        return chosen
    return [CSVLogger(folder, name="", version=""), *chosen]


def with_checkpoints(callbacks: Callback | list[Callback] | None, monitor: str | None) -> list[Callback]:
    """Return the callbacks and, unless one of them saves checkpoints, one that keeps the last and the best.

    Args:
        callbacks: As configured.
        monitor: The metric that the model calls its own, lower is better; None keeps the three latest.
    """
    chosen = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    if any(isinstance(callback, Checkpoint) for callback in chosen):
        return chosen
    # An interrupted run, by Ctrl-C or by an error, leaves where it stood.
    kept: dict[str, Any] = {"save_last": True, "save_top_k": 3, "save_on_exception": True}
    if monitor is None:
        return [*chosen, RunCheckpoint(**kept, monitor="step", mode="max")]
    return [*chosen, RunCheckpoint(**kept, monitor=monitor)]


def point_latest(run: Path) -> None:
    """Let the link `latest` in an experiment's folder point to a run in it, in one move."""
    link, fresh = run.parent / LATEST, run.parent / f".{LATEST}-{os.getpid()}"
    if link.exists() and not link.is_symlink():  # somebody's own folder
        return
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(run.name, target_is_directory=True)
    fresh.replace(link)


def discard_failed_start(folder: Path) -> None:
    """Remove the folder of a run that failed before it had anything to keep: a figure, a checkpoint."""
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= RECORDS:
        return
    metrics = folder / "metrics.csv"
    if metrics.is_file() and len(metrics.read_text().splitlines()) > 1:
        return
    for path in folder.iterdir():
        path.unlink()
    for made in (folder, folder.parent):
        if not any(made.iterdir()):
            made.rmdir()


class RunCheckpoint(ModelCheckpoint):
    """Save a run's checkpoints, and after an error where it stood, unless it is the model that diverged.

    Where the last is one of those that are kept, its file has two names and is on the disk once.
    """

    _began: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the run begins."""
        super().on_train_start(trainer, pl_module)
        self._began = trainer.global_step

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Save the last, or give what was saved at this very step that name, too."""
        if self.save_last:
            just_saved = self._last_checkpoint_saved and self._last_global_step_saved == trainer.global_step
            self.save_last = "link" if just_saved else True
        super()._save_last_checkpoint(trainer, monitor_candidates)
        if self.save_last:  # with True, Lightning comes here only where one of the best was saved
            self.save_last = "link"

    @staticmethod
    def _link_checkpoint(trainer: Trainer, filepath: str, linkpath: str) -> None:
        """Link hard, so that the last stays when the other name is removed."""
        if trainer.is_global_zero and os.path.abspath(filepath) != os.path.abspath(linkpath):
            link_anew(Path(filepath), Path(linkpath))
        trainer.strategy.barrier()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, but neither what is not finite, which the model refuses, nor a run that made no step."""
        if trainer.global_step in (0, self._began):
            return
        with suppress(FloatingPointError):  # the exception itself is the one to be told, and loggers closed
            super().on_exception(trainer, pl_module, exception)


def link_anew(file: Path, link: Path) -> None:
    """Give a file, or a folder's files, another name in place of what has it; never is there nothing.

    Where the file system has no hard links it is a copy.
    """
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    if file.is_dir():
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(file, fresh, copy_function=_link)
        if link.is_dir():
            shutil.rmtree(link)
        else:
            link.unlink(missing_ok=True)
    else:
        fresh.unlink(missing_ok=True)
        _link(str(file), str(fresh))
        if link.is_dir():
            shutil.rmtree(link)
    fresh.replace(link)


def _link(file: str, link: str) -> None:
    try:
        os.link(file, link)
    except OSError:
        shutil.copy2(file, link)


def experiment_name(words: Sequence[str]) -> str:
    """Return the name, without suffix, of the last config file that sets `model`.

    What is laid over it, such as W&B's settings, makes no other experiment. Where none sets it, it is the
    last file's name; "default" where none was given. Names are read from the command line, since
    interpolation drops them from the parsed config.
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-c", "--config", action="append", default=[])
    configs = options.parse_known_args(words)[0].config
    models = [config for config in configs if "model" in OmegaConf.load(config)]
    return Path((models or configs)[-1]).stem if configs else "default"


def find_checkpoint(asked: str | Path | None, runs: Path, experiment: Path) -> str | None:
    """Return the path of a checkpoint; "last" is that of the experiment's newest run that has one.

    Args:
        asked: The user's word.
        runs: Folder of all runs: only from there may a checkpoint be a folder, to which every process of a
            sharded run wrote its own part, since torch unpickles some of it.
        experiment: Folder in it.

    Raises:
        FileNotFoundError: There is none; for "last" Lightning would silently start afresh.
        ValueError: It is a folder from elsewhere.
    """
    if asked is None:
        return None
    if str(asked) != "last":
        if not Path(asked).exists():
            raise FileNotFoundError(f"--ckpt_path {asked}: no such checkpoint")
        if Path(asked).is_dir() and not Path(asked).resolve().is_relative_to(runs.resolve()):
            raise ValueError(
                f"--ckpt_path {asked}: reading a checkpoint that is a folder can run code that is hidden in "
                f"it, so only those under {runs}/ are taken; --runs names another folder, if you trust it"
            )
        return str(asked)
    every = experiment.glob("*/checkpoints/last.ckpt")
    saved = [path for path in every if not path.parents[1].is_symlink()]  # `latest` is one of the others
    found = sorted(saved, key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no checkpoint under {experiment}/; leave the option out to start afresh"
        )
    return str(found[-1])


def named_edits(model: LightningModule, most: int = 2) -> list[str]:
    """Return a few edits that a branch was trained with; for one that was with none, one that ships."""
    return [category.name for category in getattr(model, "categories", ())][:most] or ["glasses"]


def closing_lines(trainer: Trainer, model: LightningModule) -> list[str]:
    """Return what `fit` wrote and the command that goes on from there.

    Args:
        trainer: After its fit; its log_dir was asked on every process.
        model: What was trained.
    """
    folder = Path(trainer.default_root_dir)
    lines = [f"run: {folder} (config.yaml, environment.json, metrics.csv)"]
    saved = trainer.checkpoint_callback
    if isinstance(saved, ModelCheckpoint) and saved.best_model_path:
        by = (
            f" ({saved.monitor} {float(saved.best_model_score):.4g})"
            if saved.best_model_score is not None
            else ""
        )
        lines.append(f"best checkpoint: {saved.best_model_path}{by}")
    if not (folder / "export").is_dir():
        return lines
    lines.append(f"export: {folder / 'export'}")
    if option := BRANCH_OPTIONS.get(type(model).__name__):
        edits = ",".join(named_edits(model))
        lines.append(f"next: keyface edit VIDEO -o edited.mp4 --edits {edits} {option} {folder / 'export'}")
    return lines
