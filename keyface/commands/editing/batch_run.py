"""From a manifest to edited clips: checked as a whole, then one call of Lightning's Trainer a process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keyface.batch.manifest import Row, read_manifest
from keyface.batch.options import checked_options, combined
from keyface.batch.plan import make_batch
from keyface.batch.report import rows_of, summary, unfinished, write_report
from keyface.batch.slurm import job_array
from keyface.claims.batch import WORK, Batch
from keyface.commands.console import columns
from keyface.doctor.machine import has_wandb_login
from keyface.files import require_folder
from keyface.progress import each, say, warnings_only

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


def checked_batch(
    manifest: Path, folder: Path, options: Mapping[str, Any], networks: Mapping[str, Any], overwrite: bool
) -> Batch:
    """Return a batch whose clips were all checked; it is kept in the folder of the outputs.

    Args:
        manifest: The file or folder.
        folder: Of the outputs.
        options: Of all clips, unchecked.
        networks: As of `Batch`.
        overwrite: Whether outputs of anybody else may be replaced.

    Raises:
        ValueError: There are faults; each was told in a line.
    """
    require_folder(folder)
    rows, defaults, faults = read_manifest(manifest)
    common = combined(checked_options(options, "options"), checked_options(defaults, f"{manifest}: defaults"))

    def shown(found: Sequence[Row]) -> Any:
        return each(found, "check the clips")

    made = make_batch(
        manifest, rows, common, folder, networks, overwrite=overwrite, faults=faults, tell=say, each=shown
    )
    made.save()
    return made


def run(
    batch: Batch,
    accelerator: Literal["auto", "cpu", "gpu"],
    devices: str,
    num_nodes: int,
    wandb: str | None,
) -> int:
    """Edit what is left of a batch, in this process and in those that Lightning starts.

    Returns:
        1 where clips were set aside, else 0.

    Raises:
        KeyboardInterrupt: It was stopped.
    """
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import WandbLogger

    from keyface.batch.strategy import IndependentStrategy
    from keyface.callbacks.dashboard import finish_runs
    from keyface.datamodules.clips import ClipsDataModule
    from keyface.lightning_modules.clip_editing import ClipEditModule

    with warnings_only("lightning.pytorch"):
        trainer = Trainer(
            accelerator=accelerator,
            devices="auto" if devices == "auto" else int(devices),
            num_nodes=num_nodes,
            strategy=IndependentStrategy(),
            logger=loggers(wandb, batch.folder),
            default_root_dir=batch.folder / WORK,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,
        )
        trainer.predict(
            ClipEditModule(batch.folder), datamodule=ClipsDataModule(batch.folder), return_predictions=False
        )
    report = write_report(batch)
    table = rows_of(report)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table("batch/clips", columns=list(table[0]), data=[list(row) for row in table[1:]])
    finish_runs(failed=bool(unfinished(report)))
    if trainer.should_stop or trainer.received_sigterm:
        say(summary(report))
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        print(columns(table))
        print(f"{summary(report)}; wrote {batch.folder / 'report.json'}")
        if unfinished(report):
            say(f"next: mend what the table says, then `keyface batch retry {batch.folder}` and this again")
    return int(bool(unfinished(report)))


def script(batch: Batch, words: Sequence[str], jobs: int, devices: str, accelerator: str) -> str:
    """Return a script for SLURM; the command's words are those of `keyface batch`."""
    count = 1 if devices == "auto" else int(devices)
    return job_array(words, batch.folder, jobs, count, accelerator != "cpu", Path.cwd())


def loggers(wandb: str | None, folder: Path) -> Logger | Literal[False]:
    """Return W&B's logger for a project; False where none is named.

    Raises:
        ValueError: W&B is online, and nobody is logged in.
    """
    if wandb is None:
        return False
    from lightning.pytorch.loggers import WandbLogger

    from keyface.callbacks.dashboard import is_online

    offline = os.environ.get("WANDB_MODE", "online") == "offline"
    logger = WandbLogger(
        project=wandb, name=folder.name, save_dir=folder / WORK, job_type="batch", offline=offline
    )
    if is_online(logger) and not has_wandb_login():
        raise ValueError(
            "--wandb: nobody is logged in to W&B here: run `wandb login`, or set WANDB_MODE=offline"
        )
    return logger
