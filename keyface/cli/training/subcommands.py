"""`fit`, `validate`, `test` and `predict`: Lightning's command line with keyface's folders and defaults.

Every run gets a folder of its own, `runs/<experiment>/<time>-<id>/`, with the resolved config, the
environment, metrics.csv and checkpoints. Configs compose (`-c a.yaml -c b.yaml`, the later one wins) and
interpolate with OmegaConf.
"""

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import ModelParallelStrategy

from keyface.cli.commands import COMMANDS, TRAINING
from keyface.cli.messages import (
    LESS_MEMORY_TO_TRAIN,
    advise,
    is_out_of_memory,
    one_line,
    quiet_lightning,
)
from keyface.cli.parsing.configs import with_found_configs
from keyface.cli.parsing.parser import add_commands
from keyface.cli.runs import (
    RUN_VARIABLE,
    RunRecord,
    closing_lines,
    discard_failed_start,
    experiment_name,
    find_checkpoint,
    first_to_tell,
    loggers,
    one_run_folder,
    with_checkpoints,
)
from keyface.cli.training.forecast import with_forecast
from keyface.cli.training.progress import with_progress
from keyface.cli.training.tracking import (
    job_type,
    kept_identity,
    require_login,
    wandb_environment,
    wandb_names,
    with_followers,
)
from keyface.cli.training.weights import named_weights
from keyface.lightning_modules.protocols import ChecksCheckpoint
from keyface.lightning_modules.tuning.checkpoint_files import CheckedCheckpointIO
from keyface.lightning_modules.tuning.divergence import FiniteModule
from keyface.lightning_modules.tuning.lora import OnNonfinite
from keyface.models.requirements import require_weights
from keyface.plugins import edits
from keyface.progress import say

PARSING = {"parser_mode": "omegaconf+", "exit_on_error": False}


def run_training(words: Sequence[str]) -> None:
    """Run `fit`, `validate`, `test` or `predict`.

    Raises:
        ValueError: Something that the user asked for does not fit together.
        SystemExit: Another process of this run has told the error.
    """
    with one_run_folder(), quiet_lightning(), ExitStack() as resources:
        try:
            TrainingCLI.resources = resources
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
                args=with_found_configs(words),
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error
        except Exception as error:
            if is_out_of_memory(error):
                error.add_note(LESS_MEMORY_TO_TRAIN)
            first = first_to_tell(one_line(error))
            if run := os.environ.get(RUN_VARIABLE):
                discard_failed_start(Path(run))
            if first:
                raise
            raise SystemExit(1) from error


class Parser(LightningArgumentParser):
    """Lightning's parser with keyface's own commands listed beside Lightning's."""

    def add_subcommands(self, *args: Any, **kwargs: Any) -> Any:
        """Add the subcommands action and, as names only, keyface's commands (another parser runs them)."""
        subcommands = super().add_subcommands(*args, **kwargs)
        add_commands(subcommands, COMMANDS, ())
        return subcommands

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ArgumentError, in the words that people type."""
        super().error(advise(message, self), ex)

    def instantiate_classes(self, cfg: Namespace, **kwargs: Any) -> Namespace:
        """Build what the config describes; Lightning calls jsonargparse's `instantiate` by its old name."""
        instances: Namespace = self.instantiate(cfg, **kwargs)
        return instances


class TrainingCLI(LightningCLI):
    """LightningCLI with a folder for every run, metrics.csv and checkpoints by default.

    Attributes:
        resources: What is put back when the run ends.
    """

    resources = ExitStack()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add where runs go; `--trainer.default_root_dir` overrides both."""
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs.")
        parser.add_argument(
            "--experiment",
            type=str,
            default=None,
            help="Folder in it; default: name of the config of the model.",
        )
        parser.add_argument(
            "--on-nonfinite",
            type=OnNonfinite | None,
            default=None,
            help="What a branch does after max_nonfinite losses in a row that are not finite; "
            "default: as its tuning says, stop.",
        )
        parser.add_argument(
            "--categories",
            type=Path | None,
            default=None,
            help="YAML file with edit categories of your own, which model, data and callbacks may name.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse a list of words, without Lightning's warning when `sys.argv` has words of its own.

        The checkpoint's path is put aside until the classes are made: Lightning would otherwise replace
        parts of the config by hyperparameters that it finds in the file. Here the config is what counts.
        """
        assert isinstance(args, list)
        self.config = parser.parse_args(args)
        self.default_experiment = experiment_name(args)
        settings = self.config[self.config.subcommand]
        self.checkpoint, settings.ckpt_path = settings.ckpt_path, None

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder and find the checkpoint that `--ckpt_path last` means."""
        settings = self.config[self.subcommand]
        require_weights(*named_weights(settings))
        self.resources.enter_context(edits.with_file(settings.categories))
        experiment = settings.runs / self._experiment()
        settings.ckpt_path = find_checkpoint(self.checkpoint, settings.runs, experiment)
        if settings.trainer.default_root_dir is None:
            fresh = experiment / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            settings.trainer.default_root_dir = os.environ.setdefault(RUN_VARIABLE, str(fresh))

    def before_fit(self) -> None:
        """Settle what happens to losses that are not finite; let a model refuse what it is to go on from."""
        if (asked := self.config["fit"].on_nonfinite) is not None:
            if not isinstance(self.model, FiniteModule):
                raise ValueError(f"--on-nonfinite: {type(self.model).__name__} has no choice; a branch has")
            self.model.tuning = replace(self.model.tuning, on_nonfinite=asked)
        checkpoint = self.config["fit"].ckpt_path
        if checkpoint is not None and isinstance(self.model, ChecksCheckpoint):
            sharded = isinstance(self.trainer.strategy, ModelParallelStrategy)
            self.model.check_checkpoint(Path(checkpoint), sharded)

    def after_fit(self) -> None:
        """Tell what was written, and the next command."""
        if self.trainer.is_global_zero:
            for line in closing_lines(self.trainer, self.model):
                say(line)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with metrics.csv, in the run's folder, and checkpoints."""
        settings = self.config_init[self.subcommand].trainer
        if settings.enable_checkpointing is not False:
            validates = settings.limit_val_batches != 0
            monitor = getattr(self.model, "monitor", None) if validates else None
            settings.callbacks = with_checkpoints(settings.callbacks, monitor)
        if self.subcommand == "fit" and settings.logger is not False:
            settings.callbacks = with_followers(settings.callbacks)
        if settings.enable_progress_bar is not False:
            settings.callbacks = with_progress(settings.callbacks)
        settings.callbacks = with_forecast(settings.callbacks, str(self.subcommand))
        logger = loggers(settings.logger, settings.default_root_dir)
        require_login(logger or [])
        self._name_in_wandb(Path(settings.default_root_dir))
        trainer = super().instantiate_trainer(logger=logger, **kwargs)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # unless somebody has chosen another
            trainer.strategy.checkpoint_io = CheckedCheckpointIO()
        return trainer

    def _experiment(self) -> str:
        return str(self.config[self.subcommand].experiment or self.default_experiment)

    def _name_in_wandb(self, run: Path) -> None:
        """Name the run in W&B; `fit` from a checkpoint goes on in the W&B run that wrote it."""
        checkpoint = self.config[self.subcommand].ckpt_path if self.subcommand == "fit" else None
        job = job_type(str(self.subcommand), self.model)
        names = wandb_names(self._experiment(), run, job, self.model, kept_identity(checkpoint))
        self.resources.enter_context(wandb_environment(names))
