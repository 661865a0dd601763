"""W&B: videos, pictures and tables beside the curves. The only place that imports wandb.

The logger itself is configuration, and curves need nothing else:

    lightning fit -c configs/miniature/identity.yaml -c configs/wandb.yaml

There it is offline: nothing leaves the machine, and the run lies in `runs/wandb/offline-run-*`. To look at
it, `wandb sync <that folder>` takes it to your account; `wandb server start` (Docker) runs a dashboard of
your own, to which `WANDB_BASE_URL=http://localhost:8080 wandb sync <that folder>` takes it; `wandb leet <that
folder>` shows the curves in the terminal. `offline` with `log_model` is refused by Lightning. A run without a
W&B logger goes without: every function here then does nothing, and the same files lie in the run's folder.

Media are logged with the metric `trainer/global_step`, as Lightning's own curves are, and never with
`wandb.log(step=...)`, which drops whatever arrives out of order.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, WandbLogger
from PIL.Image import Image

Cell = Image | Path | float | int | str | None
"""Of a table; a path is a video's."""


def wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """Return the trainer's W&B loggers; none on ranks other than the first, where nothing is written."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def is_online(logger: Logger) -> bool:
    """Tell whether a logger sends what it is told to a W&B server."""
    if not isinstance(logger, WandbLogger) or logger._offline:
        return False
    mode = logger._wandb_init.get("mode") or os.environ.get("WANDB_MODE", "online")
    return mode in ("online", "run", "shared")


def wandb_identity(trainer: Trainer) -> dict[str, str] | None:
    """Return `id` and `name` of the trainer's W&B run, which begins it; None without one."""
    for logger in wandb_loggers(trainer):
        return {"id": str(logger.experiment.id), "name": str(logger.experiment.name)}
    return None


def finish_runs(failed: bool) -> None:
    """End this process' W&B run, if there is one; the next logger would otherwise write into it."""
    wandb = sys.modules.get("wandb")  # whoever began a run has imported it
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def alert(trainer: Trainer, title: str, text: str, level: str = "WARN") -> None:
    """Tell whoever follows the run, by mail or chat as their W&B account says.

    Args:
        trainer: Whose W&B runs.
        title: In a few words.
        text: What, where, how much.
        level: `INFO`, `WARN` or `ERROR`.
    """
    for logger in wandb_loggers(trainer):
        logger.experiment.alert(title, text, level)


def log_videos(trainer: Trainer, key: str, videos: Mapping[str, Path]) -> None:
    """Log encoded videos (wandb would need moviepy and a temporary copy to encode arrays itself).

    Args:
        trainer: Whose loggers to use.
        key: Name of the panel.
        videos: Caption → mp4.
    """
    for logger in wandb_loggers(trainer):
        logger.log_video(
            key,
            [str(path) for path in videos.values()],
            step=trainer.global_step,
            caption=list(videos),
            format=[path.suffix.removeprefix(".") for path in videos.values()],
        )


def log_image(trainer: Trainer, key: str, picture: Path, caption: str) -> None:
    """Log one picture file to the panel `key`."""
    for logger in wandb_loggers(trainer):
        logger.log_image(key, [str(picture)], step=trainer.global_step, caption=[caption])


def log_folder(
    trainer: Trainer, name: str, kind: str, folder: Path, facts: Mapping[str, Any] | None = None
) -> None:
    """Log a folder as an artifact, without a copy of it: it must stay until it is uploaded.

    Args:
        trainer: Whose W&B runs.
        name: Of the artifact, before the id of the run.
        kind: Its type, such as `model`.
        folder: What it holds.
        facts: Its metadata.
    """
    for logger in wandb_loggers(trainer):
        import wandb

        artifact = wandb.Artifact(f"{name}-{logger.experiment.id}", kind, metadata=dict(facts or {}))
        artifact.add_dir(str(folder), policy="immutable")
        logger.experiment.log_artifact(artifact)


def log_used_file(trainer: Trainer, name: str, kind: str, file: str, text: str) -> None:
    """Say that the run was made from a file, which becomes an artifact that it uses.

    The same content under the same name is the same version, so W&B shows which runs share it.

    Args:
        trainer: Whose W&B runs.
        name: Of the artifact.
        kind: Its type, such as `dataset`.
        file: Name of the file in it.
        text: The file's content.
    """
    for logger in wandb_loggers(trainer):
        import wandb

        artifact = wandb.Artifact(name, kind)
        with artifact.new_file(file) as written:
            written.write(text)
        run = logger.experiment
        if run.offline:  # `use_artifact` asks the server, and refuses; this is its part that needs none
            run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        else:
            run.use_artifact(artifact)


class GrowingTable:
    """A table to which rows are added through the run, on every W&B logger of the trainer.

    W&B's own tables can be logged once; in the mode INCREMENTAL, used here, each `add` sends only the new
    rows, offline too.

    Args:
        key: Name of the panel.
        columns: Column titles.
    """

    def __init__(self, key: str, columns: Sequence[str]) -> None:
        self.key = key
        self.columns = list(columns)
        self._tables: dict[int, Any] = {}

    def add(self, trainer: Trainer, rows: Sequence[Sequence[Cell]]) -> None:
        """Append rows and log them; pictures are shown as such, and files as the videos that they are."""
        for logger in wandb_loggers(trainer):
            table = self._table(logger)
            for row in rows:
                table.add_data(*map(_shown, row))
            logger.experiment.log({self.key: table, "trainer/global_step": trainer.global_step})

    def _table(self, logger: WandbLogger) -> Any:
        import wandb

        return self._tables.setdefault(id(logger), wandb.Table(columns=self.columns, log_mode="INCREMENTAL"))


def _shown(cell: Cell) -> Any:
    import wandb

    if isinstance(cell, Image):
        return wandb.Image(cell)
    if isinstance(cell, Path):
        return wandb.Video(str(cell), format=cell.suffix.removeprefix("."))
    return cell
