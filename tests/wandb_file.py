"""An offline W&B run's own file, read back without wandb's upload: what its server would be told."""

import json
import struct
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2

_HEADER = 7  # ":W&B", a magic number, the version
_BLOCK = 32_768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(path: Path) -> list[Any]:
    """Return the records of a `.wandb` file, which has the format of LevelDB's logs."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, begun, found = _HEADER, b"", []
    while place + _HEADER <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + _HEADER])
        part = content[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        begun = part if kind in (_FULL, _FIRST) else begun + part
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(begun)
            found.append(record)
    return found


class OfflineRun:
    """What one offline run was told.

    Attributes:
        folder: `offline-run-…`.
        run: Its id, name, group, job type, tags and notes.
        config: As it stands at the end.
        history: Rows of logged values by key.
        alerts: Titles, texts and levels.
        artifacts: Names and files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (file,) = folder.glob("*.wandb")
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.alerts: list[Any] = []
        self.artifacts: list[Any] = []
        self.run: Any = None
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                _add(self.config, record.run.config.update)
            elif kind == "config":
                _add(self.config, record.config.update)
            elif kind == "history":
                self.history.append({})
                _add(self.history[-1], record.history.item)
            elif kind == "alert":
                self.alerts.append(record.alert)
            elif kind == "artifact":
                self.artifacts.append(record.artifact)
            elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
                self.artifacts.append(record.request.log_artifact.artifact)

    def values(self, key: str) -> dict[int, Any]:
        """Return what was logged under a key by Lightning's step."""
        return {row["trainer/global_step"]: row[key] for row in self.history if key in row}


def _add(values: dict[str, Any], items: Any) -> None:
    """Set values by key, or by nested keys."""
    for item in items:
        *outer, last = [item.key] if item.key else item.nested_key
        place = values
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Return the offline runs below a folder, in order of their beginning.

    This ends wandb's service: it writes behind our back, and keeps the working folder of its first run.
    """
    wandb.teardown()
    return [OfflineRun(each) for each in sorted(folder.glob("**/offline-run-*"), key=lambda each: each.name)]
