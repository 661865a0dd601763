"""What training runs left in their folders: curves, edits at validation, how they were started."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyface.callbacks.edit_record import FOLDER, RECORD
from keyface.untrusted import read_json, read_yaml

METRICS = "metrics.csv"
CONFIG = "config.yaml"

Curve = Sequence[tuple[int, float]]
"""Step and value, by step; finite values only."""


@dataclass(frozen=True)
class Edit:
    """One clip that was edited at a validation.

    Attributes:
        name: Of the clip.
        video: Source on the left, edit on the right.
        categories: What was asked for.
        source: Prompt before.
        target: Prompt after.
        measures: By name.
    """

    name: str
    video: Path
    categories: tuple[str, ...] = ()
    source: str = ""
    target: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training run, with the runs that it went on from.

    Attributes:
        folder: Of the newest part.
        name: Experiment and folder, as far as the folder's path tells.
        config: The resolved config, flat: dotted name → value.
        environment: What environment.json says.
        wandb: Id and name of its W&B run; empty without.
        curves: By the key that loggers know.
        edits: By step.
        parts: Folders, from the first start to the last.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    wandb: Mapping[str, str]
    curves: Mapping[str, Curve]
    edits: Mapping[int, Sequence[Edit]]
    parts: tuple[Path, ...]

    @property
    def steps(self) -> int:
        """Return the last step that anything was logged at."""
        ends = [curve[-1][0] for curve in self.curves.values() if curve]
        return max([*ends, *self.edits], default=0)

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the names of the edits that were measured one by one."""
        start = "edit/reconstruction_psnr/"
        return tuple(key.removeprefix(start) for key in self.curves if key.startswith(start))


def find_runs(places: Sequence[Path]) -> list[Run]:
    """Read all runs in some folders, those that were started first before later ones.

    A run that went on from a checkpoint of another is one with it, wherever that one's folder lies.

    Args:
        places: Folders of runs, of experiments, or of anything above them.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no run in it, or a run's file cannot be read.
    """
    folders: dict[Path, Path] = {}
    for place in places:
        found = list(_folders(place))
        if not found:
            raise ValueError(
                f"{place}: no run in it; give a run's folder, an experiment's or all of them, such as "
                f"runs/miniature/identity: each run's folder has a {METRICS}"
            )
        folders |= {folder.resolve(): folder for folder in found}
    before = {folder: _went_on_from(folder) for folder in folders.values()}
    swallowed = {parent.resolve() for parent in before.values() if parent is not None}
    runs = [_read(folder, _chain(folder)) for path, folder in folders.items() if path not in swallowed]
    return sorted(runs, key=lambda run: (str(run.environment.get("started", "")), run.name))


def _folders(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder")
    if _is_run(place):
        yield place.resolve() if place.is_symlink() else place
        return
    for file in sorted(place.rglob(METRICS)):
        yield file.parent


def _is_run(folder: Path) -> bool:
    return (folder / METRICS).is_file() or (folder / FOLDER).is_dir()


def _went_on_from(folder: Path) -> Path | None:
    """Return the folder of the run whose checkpoint a run began with, if it is still there."""
    checkpoint = _config(folder).get("ckpt_path")
    if not isinstance(checkpoint, str):
        return None
    # Paths in configs are relative to where the command was given, mostly the folder above all runs.
    for base in (Path(), *folder.absolute().parents):
        parent = (base / checkpoint).parent.parent
        if _is_run(parent) and parent.resolve() != folder.resolve():
            return parent
    return None


def _chain(folder: Path) -> tuple[Path, ...]:
    """Return a run's folder after those that it went on from."""
    parts = [folder]
    while (parent := _went_on_from(parts[0])) is not None and parent not in parts:
        parts.insert(0, parent)
    return tuple(parts)


def _config(folder: Path) -> dict[str, Any]:
    return read_yaml(folder / CONFIG) if (folder / CONFIG).is_file() else {}


def _read(folder: Path, parts: tuple[Path, ...]) -> Run:
    curves: dict[str, dict[int, float]] = {}
    edits: dict[int, Sequence[Edit]] = {}
    for part in parts:
        fresh = read_curves(part / METRICS)
        start = min((step for values in fresh.values() for step in values), default=0)
        # What a run did after the checkpoint that another went on from is done again there.
        curves = {key: {at: kept[at] for at in kept if at <= start} for key, kept in curves.items()}
        edits = {at: kept for at, kept in edits.items() if at <= start} | read_edits(part / FOLDER)
        for key, values in fresh.items():
            curves.setdefault(key, {}).update(values)
    environment, config = _json(folder / "environment.json"), _config(folder)
    return Run(
        folder,
        "/".join((str(config.get("experiment") or folder.resolve().parent.name), folder.resolve().name)),
        dict(flat(config)),
        environment,
        {name: str(value) for name, value in _json(folder / "wandb.json").items()},
        {key: sorted(values.items()) for key, values in curves.items() if values},
        dict(sorted(edits.items())),
        parts,
    )


def read_curves(file: Path) -> dict[str, dict[int, float]]:
    """Read the metrics.csv of Lightning's CSVLogger: key → step → value, finite values only.

    Raises:
        ValueError: It is of another form.
    """
    curves: dict[str, dict[int, float]] = {}
    if not file.is_file():
        return curves
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        rows = csv.DictReader(lines)
        if rows.fieldnames is not None and "step" not in rows.fieldnames:
            raise ValueError(f"{file}: has no column `step`, so it is not what a run's CSVLogger writes")
        for row in rows:
            try:
                step = int(row["step"])
                values = {key: float(text) for key, text in row.items() if text and isinstance(text, str)}
            except (TypeError, ValueError) as error:
                raise ValueError(f"{file}:{rows.line_num}: {error}; is the file whole?") from error
            for key, value in values.items():
                if key not in ("step", "epoch") and math.isfinite(value):
                    curves.setdefault(key, {})[step] = value
    return curves


def read_edits(folder: Path) -> dict[int, Sequence[Edit]]:
    """Read what a run's validations edited, by step; runs before 0.3 kept the videos alone.

    Raises:
        ValueError: A record is damaged.
    """
    found: dict[int, Sequence[Edit]] = {}
    for place in sorted(folder.glob("step-*")):
        videos = {path.stem: path for path in sorted(place.glob("*.mp4"))}
        if not videos or not place.name.removeprefix("step-").isdigit():
            continue
        record = _json(place / RECORD, list)
        if not all(isinstance(each, dict) and "name" in each for each in record):
            raise ValueError(f"{place / RECORD}: each edit needs a `name`")
        said = {str(each["name"]): each for each in record}
        order = [*(name for name in said if name in videos), *(name for name in videos if name not in said)]
        found[int(place.name.removeprefix("step-"))] = [
            _edit(videos[name], said.get(name, {})) for name in order
        ]
    return found


def _edit(video: Path, said: Mapping[str, Any]) -> Edit:
    return Edit(
        video.stem,
        video,
        tuple(said.get("categories", ())),
        said.get("source", ""),
        said.get("target", ""),
        said.get("measures", {}),
    )


def flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a nested mapping's values by dotted names; lists are values."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _json(file: Path, kind: type = dict) -> Any:
    """Return the content of a JSON file; an empty one of its kind where there is none."""
    if not file.is_file():
        return kind()
    content = read_json(file, allow_nan=True)
    if not isinstance(content, kind):
        raise ValueError(f"{file}: a {kind.__name__} is needed")
    return content
