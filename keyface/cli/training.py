"""`fit`, `validate`, `test` and `predict`: Lightning's command line with keyface's folders and defaults.

Every run gets a folder of its own, `runs/<experiment>/<time>-<id>/`, with the resolved config, the
environment, metrics.csv and checkpoints. Configs compose (`-c a.yaml -c b.yaml`, the later one wins) and
interpolate with OmegaConf.
"""

import argparse
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import OmegaConf

from keyface.cli.commands import COMMANDS, TRAINING
from keyface.cli.parser import add_commands

RUN_VARIABLE = "KEYFACE_RUN"
PARSING = {"parser_mode": "omegaconf+", "exit_on_error": False}


def run_training(words: Sequence[str]) -> None:
    """Runs `fit`, `validate`, `test` or `predict`.

    Raises:
        ValueError: Something that the user asked for does not fit together.
    """
    with one_run_folder():
        try:
            TrainingCLI(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=RunRecord,
                seed_everything_default=0,
                parser_class=Parser,
                parser_kwargs={**PARSING, **{name: dict(PARSING) for name in TRAINING}},
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=list(words),
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error


@contextmanager
def one_run_folder() -> Iterator[None]:
    """Lets the processes that a multi-GPU launcher starts inherit this run's folder, and only those."""
    inherited = os.environ.get(RUN_VARIABLE)
    try:
        yield
    finally:
        if inherited is None:
            os.environ.pop(RUN_VARIABLE, None)


class Parser(LightningArgumentParser):
    """Lightning's parser with keyface's own commands listed beside Lightning's."""

    def add_subcommands(self, *args: Any, **kwargs: Any) -> Any:
        """Adds the subcommands action and, as names only, keyface's commands (another parser runs them)."""
        subcommands = super().add_subcommands(*args, **kwargs)
        add_commands(subcommands, COMMANDS, ())
        return subcommands

    def instantiate_classes(self, cfg: Namespace, **kwargs: Any) -> Namespace:
        """Builds what the config describes; Lightning calls jsonargparse's `instantiate` by its old name."""
        instances: Namespace = self.instantiate(cfg, **kwargs)
        return instances


class RunRecord(SaveConfigCallback):
    """Saves the resolved config and the environment to the run's folder when a run starts."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes config.yaml and environment.json: command, versions, machine; enough to repeat the run."""
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
            "packages": {
                distribution.name: distribution.version
                for distribution in sorted(distributions(), key=lambda each: each.name.lower())
            },
        }
        Path(folder, "environment.json").write_text(json.dumps(record, indent=1) + "\n")
        self.already_saved = True


class TrainingCLI(LightningCLI):
    """LightningCLI with a folder for every run, metrics.csv and checkpoints by default."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds where runs go; `--trainer.default_root_dir` overrides both."""
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs.")
        parser.add_argument(
            "--experiment",
            type=str,
            default=None,
            help="Folder in it; default: name of the config of the model.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses a list of words, without Lightning's warning when `sys.argv` has words of its own.

        The checkpoint's path is put aside until the classes are made: Lightning would otherwise replace
        parts of the config by hyperparameters that it finds in the file. Here the config is what counts.
        """
        assert isinstance(args, list)
        self.config = parser.parse_args(args)
        self.default_experiment = experiment_name(args)
        settings = self.config[self.config.subcommand]
        self.checkpoint, settings.ckpt_path = settings.ckpt_path, None

    def before_instantiate_classes(self) -> None:
        """Chooses the run's folder and finds the checkpoint that `--ckpt_path last` means."""
        settings = self.config[self.subcommand]
        experiment = settings.runs / (settings.experiment or self.default_experiment)
        settings.ckpt_path = find_checkpoint(self.checkpoint, settings.runs, experiment)
        if settings.trainer.default_root_dir is None:
            fresh = experiment / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            settings.trainer.default_root_dir = os.environ.setdefault(RUN_VARIABLE, str(fresh))

    def before_fit(self) -> None:
        """Lets a model that can tell refuse the checkpoint that it is to go on from."""
        checkpoint = self.config["fit"].ckpt_path
        if checkpoint is not None and hasattr(self.model, "check_checkpoint"):
            sharded = isinstance(self.trainer.strategy, ModelParallelStrategy)
            self.model.check_checkpoint(Path(checkpoint), sharded)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the trainer with metrics.csv, in the run's folder, and checkpoints."""
        settings = self.config_init[self.subcommand].trainer
        if settings.enable_checkpointing is not False:
            validates = settings.limit_val_batches != 0
            monitor = getattr(self.model, "monitor", None) if validates else None
            settings.callbacks = with_checkpoints(settings.callbacks, monitor)
        logger = loggers(settings.logger, settings.default_root_dir)
        return super().instantiate_trainer(logger=logger, **kwargs)


def loggers(configured: Logger | list[Logger] | bool | None, folder: str) -> list[Logger] | bool:
    """Returns the configured loggers after one that writes metrics.csv into the run's folder.

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
    """Returns the callbacks and, unless one of them saves checkpoints, one that keeps the last and the best.

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


class RunCheckpoint(ModelCheckpoint):
    """Saves a run's checkpoints, and after an error where it stood, unless it is the model that diverged."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves, or leaves the last checkpoint where the model refuses to save what is not finite."""
        with suppress(FloatingPointError):  # the exception itself is the one to be told, and loggers closed
            super().on_exception(trainer, pl_module, exception)


def experiment_name(words: Sequence[str]) -> str:
    """Returns the name, without suffix, of the last config file that sets `model`.

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
    """Returns the path of a checkpoint; "last" is that of the experiment's newest run that has one.

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
    found = sorted(experiment.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no checkpoint under {experiment}/; leave the option out to start afresh"
        )
    return str(found[-1])
