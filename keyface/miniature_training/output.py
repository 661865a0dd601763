"""The folder of a run: weights in the package's layout, and each stage's runs."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keyface.files import write_text
from keyface.miniature import zoo
from keyface.miniature_training.stages import BY_NAME, STAGES, Stage, outdated
from keyface.untrusted import read_json_object

WEIGHTS = "weights"
"""Folder in the output that is laid out like `keyface/miniature/weights`."""

WORK = "work"
"""Folder in the output with what the weights were made by and from: runs, shards."""

EDIT = "edit.yaml"


def weights_of(output: Path) -> Path:
    """Return the folder of the networks, absolute, as configs name it."""
    return output.absolute() / WEIGHTS


def fill(weights: Path, trained: Sequence[str]) -> list[str]:
    """Copy the packaged networks that a run needs beside those that it trains.

    Args:
        weights: Of the output; what it has already stays.
        trained: Names of the stages that are trained.

    Returns:
        The names of the stages whose networks were copied.
    """
    copied = []
    for stage in STAGES:
        if stage.name in trained or outdated(stage, trained) or _has(weights, stage):
            continue
        install(zoo.WEIGHTS / stage.folder, weights, stage)
        copied.append(stage.name)
    return copied


def left_behind(weights: Path, trained: Sequence[str]) -> list[str]:
    """Return the names of networks that are there and will not fit any longer what is trained."""
    made = {BY_NAME[name].folder for name in trained}  # the autoencoder's is the decoder's, too
    stages = [stage for stage in STAGES if stage.folder not in made and outdated(stage, trained)]
    return [stage.name for stage in stages if _has(weights, stage)]


def install(export: Path, weights: Path, stage: Stage) -> None:
    """Copy an exported network to its place among the weights, whole or not at all.

    The base's folder also holds the autoencoder, which stays, and the defaults of edits.

    Args:
        export: What a fit exported, or a folder of the package.
        weights: The networks' folder.
        stage: Whose network it is.
    """
    target = weights / stage.folder
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(export, partial)
    for name in ("card.json", "README.md"):
        _forget_places(partial / name, weights)
    if stage.name == "base":
        shutil.rmtree(partial / "vae", ignore_errors=True)
        if not (partial / EDIT).exists():
            shutil.copy(zoo.WEIGHTS / "base" / EDIT, partial / EDIT)
        if (target / "vae").exists():
            shutil.copytree(target / "vae", partial / "vae")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def restore(output: Path, weights: Path, name: str) -> None:
    """Put a finished stage's network among the weights where a kill fell between the two."""
    stage = BY_NAME.get(name)
    if stage is not None and not _has(weights, stage):
        install(newest_export(output, stage), weights, stage)


def work_of(output: Path, name: str) -> Path:
    """Return the folder of a stage's runs, or of the `shards`; absolute."""
    return output.absolute() / WORK / name


def newest_export(output: Path, stage: Stage) -> Path:
    """Return the folder to which a stage's last fit exported its network."""
    return newest(work_of(output, stage.name).glob("*/export")) if stage.branch else export_of(output, stage)


def export_of(output: Path, stage: Stage) -> Path:
    """Return where a network that is no branch is exported to; a branch's run has it in its own folder."""
    return work_of(output, stage.name) / "export"


def newest_checkpoint(output: Path, stage: Stage) -> Path | None:
    """Return the checkpoint that a stage goes on from; None where it begins."""
    found = list(work_of(output, stage.name).glob("*/checkpoints/*.ckpt"))
    return newest(found) if found else None


def newest(paths: Iterable[Path]) -> Path:
    """Return the path that was written last."""
    return max(paths, key=lambda path: path.stat().st_mtime)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of an exported network."""
    return read_json_object(folder / "card.json", allow_nan=True)


def megabytes(folder: Path) -> float:
    """Return the size of all files in a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _has(weights: Path, stage: Stage) -> bool:
    part = "unet" if stage.name == "base" else ""
    return (weights / stage.folder / part).is_dir()


def _forget_places(file: Path, weights: Path) -> None:
    """Name networks in a card as in the package, not by the folder in which they were trained."""
    if file.is_file():
        text = file.read_text().replace(f"miniature:{weights}", "miniature")
        write_text(file, text.replace(f"{weights}/", ""))
