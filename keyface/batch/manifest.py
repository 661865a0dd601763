"""The list of a batch's clips as somebody wrote it: CSV, YAML, or a folder of videos."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyface.untrusted import read_bytes, read_yaml
from keyface.video.formats import STILL_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")

MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class Row:
    """One clip as it is written.

    Attributes:
        where: Its place, with which messages about it begin.
        video: The clip; a name is one in the folder of the manifest.
        output: Name in the folder of the outputs; None takes the clip's.
        options: All else that is given, unchecked.
    """

    where: str
    video: Path
    output: str | None
    options: Mapping[str, Any]


def read_manifest(path: Path) -> tuple[list[Row], dict[str, Any], list[str]]:
    """Read a manifest.

    A CSV file has a line of names, of which `video` is one, and a line for each clip; empty cells are not
    given. A YAML file has a list `clips` of mappings, and may have `defaults` for all of them. Of a folder
    each video and each still is a clip, by name.

    Args:
        path: The file or the folder.

    Returns:
        The clips; what holds for all of them, unchecked; and a line for each row that is none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or names no clip.
    """
    common: dict[str, Any] = {}
    faults: list[str] = []
    if path.is_dir():
        rows = _of_folder(path)
    elif path.suffix.lower() == ".csv":
        rows, faults = _of_csv(path)
    elif path.suffix.lower() in (".yaml", ".yml"):
        rows, common, faults = _of_yaml(path)
    elif not path.exists():
        raise FileNotFoundError(f"{path}: no such manifest; give a .csv or .yaml file, or a folder of videos")
    else:
        raise ValueError(f"{path}: a manifest is a .csv or .yaml file, or a folder of videos")
    if not rows and not faults:
        raise ValueError(f"{path}: names no clip")
    return rows, common, faults


def _of_folder(path: Path) -> list[Row]:
    files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
    return [
        Row(str(file), file, None, {})
        for file in files
        if file.suffix.lower() in (*VIDEO_SUFFIXES, *STILL_SUFFIXES)
    ]


def _of_csv(path: Path) -> tuple[list[Row], list[str]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no UTF-8; save it anew as CSV in UTF-8") from None
    rows: list[Row] = []
    faults: list[str] = []
    lines = _cells(path, text)
    try:
        _, names = next(lines)
    except StopIteration:
        raise ValueError(f"{path}: is empty; the first line names the columns, as in video,edits") from None
    names = [name.strip() for name in names]
    if "video" not in names:
        raise ValueError(f"{path}: has no column video; the first line names the columns, as in video,edits")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path}: {', '.join(sorted(map(repr, twice)))} names two columns; leave one out")
    for number, cells in lines:
        where = f"{path}: row {number}"
        if len(cells) > len(names):
            faults.append(
                f"{where}: has {len(cells)} cells where there are {len(names)} columns; a value with a comma "
                "needs quotes"
            )
            continue
        given = {
            name: cell.strip() for name, cell in zip(names, cells, strict=False) if name and cell.strip()
        }
        _add(rows, faults, where, given, path.parent)
    return rows, faults


def _cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty with their numbers, of which the names' is 1."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for number, cells in enumerate(reader, start=1):
            if number > MOST_ROWS:
                raise ValueError(f"{path}: has more than {MOST_ROWS:,} rows; split it")
            if any(cell.strip() for cell in cells):
                yield number, cells
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: cannot be read as CSV: {error}") from error


def _of_yaml(path: Path) -> tuple[list[Row], dict[str, Any], list[str]]:
    content = read_yaml(path)
    clips, common = content.pop("clips", None), content.pop("defaults", None) or {}
    if not isinstance(clips, list) or not isinstance(common, dict):
        raise ValueError(
            f"{path}: needs a list of clips, as in 'clips: [{{video: a.mp4, edits: beard}}]', and may have "
            "defaults, a mapping"
        )
    if content:
        raise ValueError(f"{path}: {next(iter(content))!r} is neither clips nor defaults")
    rows: list[Row] = []
    faults: list[str] = []
    for number, each in enumerate(clips, start=1):
        where = f"{path}: clip {number}"
        if isinstance(each, dict):
            given = {str(name): value for name, value in each.items() if value is not None}
            _add(rows, faults, where, given, path.parent)
        else:
            faults.append(f"{where}: is {each!r:.60}; it must be a mapping, as in {{video: a.mp4}}")
    return rows, common, faults


def _add(rows: list[Row], faults: list[str], where: str, given: dict[str, Any], folder: Path) -> None:
    video, output = given.pop("video", None), given.pop("output", None)
    photo = given.get("person")
    if isinstance(photo, str) and (folder / photo).is_file():
        given["person"] = str((folder / photo).resolve())
    if not isinstance(video, str):
        faults.append(f"{where}: names no video")
    elif not (output is None or isinstance(output, str)):
        faults.append(f"{where}: output is {output!r:.60}; it must be the name of a file")
    else:
        rows.append(Row(where, folder / video, output, given))
