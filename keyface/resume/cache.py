"""Finished work of earlier edits in a folder, found again by what it was made of."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyface.files import write_text
from keyface.resume.journal import Journal, Value
from keyface.resume.memory_maps import MemoryMaps
from keyface.untrusted import read_json_object

LIMIT_VARIABLE = "KEYFACE_CACHE_GB"
"""Environment variable: how large a cache may grow, in 10⁹ bytes."""

_LIMIT_GB = 20.0
_ENTRIES = "entries.json"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class WorkCache:
    """Keep files and the journal's entries about them.

    An entry appears whole or not at all, and what another process removes meanwhile counts as not there, so
    several processes may share a folder. What was not used for longest goes first when it grows too large.

    Attributes:
        folder: Where; made if need be.
        limit: Most bytes that all entries may take together.
    """

    folder: Path
    limit: int

    @classmethod
    def of(cls, folder: Path) -> WorkCache:
        """Return the cache in a folder, as large as the environment allows.

        Raises:
            ValueError: The environment says no number above 0.
        """
        given = os.environ.get(LIMIT_VARIABLE, str(_LIMIT_GB))
        try:
            size = float(given)
        except ValueError:
            size = 0.0
        if not 0 < size < float("inf"):
            raise ValueError(f"{LIMIT_VARIABLE} is {given!r}; give a number of gigabytes above 0")
        return cls(folder, int(size * 1e9))

    def of_work(self, facts: Mapping[str, Any]) -> CachedWork:
        """Return the place of work that these facts, which JSON can say, decide."""
        text = json.dumps(facts, sort_keys=True, default=str)
        return CachedWork(self, hashlib.sha256(text.encode()).hexdigest()[:40])

    def entries(self) -> list[Path]:
        """Return the folders of all entries, the one that was not used for longest first."""
        found = []
        for path in self.folder.iterdir():
            try:
                found.append(((path / _ENTRIES).stat().st_mtime_ns, path))
            except (FileNotFoundError, NotADirectoryError):
                continue
        return [path for _, path in sorted(found)]

    def tidy(self) -> None:
        """Remove what processes left that were killed while they copied into the cache."""
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            try:
                with _locked(left):
                    shutil.rmtree(left, ignore_errors=True)
            except OSError:  # a process is at work in it, or has just ended
                continue

    def shrink(self, keep: Path) -> None:
        """Remove entries until the rest fits, but never `keep`."""
        entries = self.entries()
        sizes = {entry: _bytes(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in entries:
            if total <= self.limit:
                return
            if entry != keep:
                _remove(entry)
                total -= sizes[entry]


@dataclass(frozen=True)
class CachedWork:
    """One entry of a cache, which may or may not be there.

    Attributes:
        cache: Where.
        key: Names it.
    """

    cache: WorkCache
    key: str

    @property
    def place(self) -> Path:
        """Return its folder."""
        return self.cache.folder / self.key

    def restore(self, maps: MemoryMaps, journal: Journal) -> bool:
        """Copy the entry into the files of a session that has begun nothing, and tell its journal.

        Args:
            maps: Has files of the same names and sizes.
            journal: Gets the entries.

        Returns:
            Whether there was such an entry; files may have changed even where there was none.
        """
        if journal.begun:
            return False
        try:
            entries = read_json_object(self.place / _ENTRIES, allow_nan=True)
            names = [path.name for path in self.place.iterdir() if path.name != _ENTRIES]
            for name in names:
                _copy_into(self.place / name, maps.folder / name)
            os.utime(self.place / _ENTRIES)
        except (OSError, ValueError):
            return False
        journal.write(**entries)
        return True

    def keep(self, maps: MemoryMaps, names: Sequence[str], entries: Mapping[str, Value]) -> None:
        """Copy files of a session into the cache, unless they are there or the disk is full.

        Args:
            maps: Has the files.
            names: Of the files.
            entries: What the journal says of them.
        """
        if (self.place / _ENTRIES).is_file():
            return
        maps.flush()
        try:
            self.cache.folder.mkdir(parents=True, exist_ok=True)
            self.cache.tidy()
            with _unfinished(self.cache.folder) as folder:
                unfinished = folder / self.key
                unfinished.mkdir()
                for name in names:
                    shutil.copyfile(maps.folder / name, unfinished / name)
                write_text(unfinished / _ENTRIES, json.dumps(dict(entries)))
                unfinished.rename(self.place)
        except OSError:  # no space left, not allowed any more, or another process was first
            return
        self.cache.shrink(keep=self.place)


@contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    """Make a folder that is removed at the end of the block, and locked until then (`WorkCache.tidy`)."""
    made = tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=parent, ignore_cleanup_errors=True)
    with made as folder, _locked(Path(folder)):
        yield Path(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, until the block or the process ends.

    Raises:
        OSError: Another process has locked it, or it is gone.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _copy_into(source: Path, target: Path) -> None:
    """Copy a file into one of the same size that stays the same file: it may be mapped into memory."""
    with source.open("rb") as read, target.open("r+b") as written:
        if os.fstat(read.fileno()).st_size != os.fstat(written.fileno()).st_size:
            raise ValueError(f"{source}: has another size than {target}")
        shutil.copyfileobj(read, written, 2**20)


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _remove(entry: Path) -> None:
    """Take an entry away at once, then its files."""
    try:
        away = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=entry.parent))
        entry.rename(away / entry.name)
    except OSError:  # another process was first
        return
    shutil.rmtree(away, ignore_errors=True)
