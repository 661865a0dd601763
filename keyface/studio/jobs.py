"""Edits in the workspace: a folder each, with a file that says what was asked for and how far it is."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from keyface.batch.options import checked_options
from keyface.files import json_text, write_text
from keyface.studio.asking import MASK, OUTPUT
from keyface.untrusted import UntrustedError, is_finite_number, read_json_object

State = Literal["waiting", "running", "stopped", "done", "failed"]

_FILE = "edit.json"
_ID = re.compile(r"[0-9a-f]{12}")
_MOST_BYTES = 2**20


@dataclass
class Job:
    """One edit.

    Attributes:
        id: Its name, and that of its folder.
        clip: Name of the clip in the workspace.
        options: Checked options of `keyface edit`.
        created: Seconds since 1970; edits are made in this order.
        state: What is to be done with it, or was.
        line: What went wrong, or what is to be known.
        stage: What is done now; not kept on the disk.
        fraction: How much of all is done, in [0, 1]; likewise.
    """

    id: str
    clip: str
    options: dict[str, Any]
    created: float
    state: State = "waiting"
    line: str = ""
    stage: str = field(default="", compare=False)
    fraction: float = field(default=0.0, compare=False)

    @classmethod
    def new(cls, clip: str, options: Mapping[str, Any]) -> Job:
        """Return an edit that waits."""
        return cls(secrets.token_hex(6), clip, dict(options), time.time())

    def folder(self, edits: Path) -> Path:
        """Return its folder in that of all edits."""
        return edits / self.id

    def files(self, edits: Path) -> tuple[Path, Path, Path]:
        """Return where the video, the mask and the record are, or will be."""
        folder = self.folder(edits)
        return folder / OUTPUT, folder / MASK, (folder / OUTPUT).with_suffix(".json")

    def save(self, edits: Path) -> None:
        """Write what must outlive the process."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("stage", "fraction")}
        write_text(self.folder(edits) / _FILE, json_text(kept))

    def facts(self) -> dict[str, Any]:
        """Return what other programs are told."""
        return asdict(self) | {"clip": Path(self.clip).name, "fraction": round(self.fraction, 3)}


def is_id(text: object) -> bool:
    """Tell whether a text can be the id of an edit, so that it is no path."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def read_jobs(edits: Path) -> tuple[list[Job], list[str]]:
    """Return the edits of a folder, oldest first, and what is wrong with those that cannot be read."""
    found, faults = [], []
    for folder in sorted(edits.iterdir()) if edits.is_dir() else ():
        if not is_id(folder.name) or folder.is_symlink():
            continue
        try:
            found.append(_read(folder))
        except (FileNotFoundError, ValueError) as error:
            faults.append(f"{error}; the edit is left out")
    return sorted(found, key=lambda job: (job.created, job.id)), faults


def _read(folder: Path) -> Job:
    path = folder / _FILE
    content = read_json_object(path, limit=_MOST_BYTES)
    clip, line, options, created = (content.get(name) for name in ("clip", "line", "options", "created"))
    state = next((each for each in get_args(State) if each == content.get("state")), None)
    if not (isinstance(clip, str) and isinstance(line, str) and isinstance(options, dict)):
        raise UntrustedError(f"{path}: no edit of the studio")
    if state is None or not is_finite_number(created):
        raise UntrustedError(f"{path}: no edit of the studio")
    return Job(folder.name, clip, checked_options(options, str(path)), float(created or 0), state, line)
