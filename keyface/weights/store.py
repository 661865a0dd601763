"""The folder that holds external weights: what of them is there, and whether it is what it should be."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from keyface.files import sha256, write_text
from keyface.untrusted import read_json_object
from keyface.weights.catalogue import Entry, WeightFile, find_entry

ROOT_VARIABLE = "KEYFACE_WEIGHTS"
LOCK = "weights.lock.json"

Verdict = Literal["as published", "as pinned", "pinned now", "differs", "missing"]

_JSON_LIMIT = 2**24


class MissingWeightsError(FileNotFoundError):
    """Weights are not here; the message lists all of them at once and how to get them."""


@dataclass(frozen=True)
class Checked:
    """What became of one file when it was verified.

    Attributes:
        path: The file.
        verdict: The outcome.
        sha256: What the file has; empty if it is missing.
        expected: What it should have; empty where nothing says so.
    """

    path: Path
    verdict: Verdict
    sha256: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Store:
    """A folder with one folder for each entry of the catalogue.

    Attributes:
        root: The folder; by default what the environment variable KEYFACE_WEIGHTS says, or `models`.
    """

    root: Path = field(default_factory=lambda: Path(os.environ.get(ROOT_VARIABLE) or "models"))

    def folder(self, entry: Entry) -> Path:
        """Return the folder of an entry's files."""
        return self.root / entry.name

    def files(self, entry: Entry) -> Iterator[WeightFile]:
        """Yield an entry's files, with those that a safetensors index names, as far as the index is here.

        Raises:
            ValueError: An index is damaged.
        """
        for file in entry.files:
            yield file
            path = self.folder(entry) / file.path
            if file.index and path.is_file():
                parent = PurePosixPath(file.path).parent
                yield from (WeightFile(str(parent / name)) for name in _shards(path))

    def missing(self, entry: Entry) -> list[Path]:
        """Return those of an entry's files that are not here."""
        paths = [self.folder(entry) / file.path for file in self.files(entry)]
        return [path for path in paths if not path.is_file()]

    def bytes(self, entry: Entry) -> int:
        """Return the size of what is here of an entry."""
        paths = [self.folder(entry) / file.path for file in self.files(entry)]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def require(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the folders of entries, all of whose files are here.

        Raises:
            LookupError: There are no weights of such a name.
            MissingWeightsError: Files are missing; all of all entries are listed, with how to get them.
        """
        entries = [find_entry(name) for name in names]
        absent = {entry.name: missing for entry in entries if (missing := self.missing(entry))}
        if absent:
            raise MissingWeightsError(how_to_get([find_entry(name) for name in absent], absent))
        return {entry.name: self.folder(entry) for entry in entries}

    def verify(self, entry: Entry, pin: bool = True) -> list[Checked]:
        """Hash an entry's files and compare them with what is published or was pinned.

        Args:
            entry: The entry.
            pin: Remember the hash of a file for which nothing is published and nothing pinned.

        Returns:
            One verdict a file.
        """
        pins = self._pins()
        known: dict[str, str] = pins.get(entry.name, {})
        checked = []
        for file in self.files(entry):
            path = self.folder(entry) / file.path
            if not path.is_file():
                checked.append(Checked(path, "missing"))
                continue
            digest = sha256(path)
            expected = file.sha256 or known.get(file.path, file.sha256_starts)
            verdict: Verdict
            if not digest.startswith(expected):
                verdict = "differs"
            elif file.sha256:
                verdict = "as published"
            elif file.path in known:
                verdict = "as pinned"
            else:
                verdict, known = "pinned now", {**known, file.path: digest}
            checked.append(Checked(path, verdict, digest, expected))
        if pin and known != pins.get(entry.name, {}):
            write_json(self.root / LOCK, {**pins, entry.name: known})
        return checked

    def _pins(self) -> dict[str, dict[str, str]]:
        path = self.root / LOCK
        if not path.is_file():
            return {}
        pins = read_json_object(path, limit=_JSON_LIMIT)
        if not all(isinstance(each, dict) for each in pins.values()):
            raise ValueError(f"{path}: no file of pinned hashes; delete it to pin anew")
        return pins


def how_to_get(entries: Iterable[Entry], absent: dict[str, list[Path]]) -> str:
    """Write one line that names all missing files and what to do."""
    parts = []
    for entry in entries:
        paths = absent[entry.name]
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        parts.append(f"{entry.name} ({paths[0]}{more}; from {entry.origin})")
    names = " ".join(absent)
    return (
        f"missing weights: {'; '.join(parts)}. Run `keyface weights get {names}` where there is a network, "
        f"or put the files there yourself; {ROOT_VARIABLE} names another folder"
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def _shards(index: Path) -> list[str]:
    names = read_json_object(index, limit=_JSON_LIMIT).get("weight_map", {})
    shards = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
    if not shards:
        raise ValueError(f"{index}: no index of safetensors files")
    wrong = [name for name in shards if "/" in name or "\\" in name or not name.endswith(".safetensors")]
    if wrong:
        raise ValueError(f"{index}: names {wrong[0]!r}, which is no safetensors file beside it")
    return shards
