"""Where annotations wait for their shards, and how shards get them."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from keyface.datamodules.shard_files.index import ShardEntry, ShardError, ShardIndex
from keyface.datamodules.shard_files.reader import Faults, find_samples
from keyface.datamodules.shard_files.schema import MEMBERS
from keyface.datamodules.shard_files.writer import write_members
from keyface.files import write_bytes, write_text
from keyface.locking import LOCK, alone_in
from keyface.untrusted import read_json

_SETTINGS = "settings.json"
_GENERATION = re.compile(r"(?P<stem>.+?)(-v(?P<number>\d+))?\.tar")


class Staging:
    """A folder with one file a sample.

    Args:
        folder: Where.
        member: The extension that the files will have in the shards.

    Attributes:
        resumed: Whether an unfinished run of the same settings left it.
    """

    def __init__(self, folder: Path, member: str) -> None:
        self.folder = folder
        self.member = member
        self.resumed = False
        self._lock = ExitStack()

    def open(self, settings: Mapping[str, Any], discard: bool, first: bool) -> None:
        """Make the folder and lock it, or go on with what an unfinished run left there.

        Args:
            settings: What decides the files.
            discard: Throw away what other settings made.
            first: Whether this process may write.

        Raises:
            ShardError: Other settings made what is there.
            ValueError: Another process works with it.
        """
        if first:
            self._lock.enter_context(alone_in(self.folder))
        path = self.folder / _SETTINGS
        before = read_json(path) if path.is_file() else None
        if before is not None and before != settings and not discard:
            raise ShardError(
                f"{self.folder}: an unfinished run had the settings {before}, now {settings}; finish it, or "
                "overwrite"
            )
        self.resumed = before == settings
        if not first:
            return
        if before is not None and before != settings:
            for each in self.folder.iterdir():
                if each.name != LOCK:
                    each.unlink()
        write_text(path, json.dumps(settings))

    def path(self, key: str) -> Path:
        """Return the file of a sample; keys are checked by the reader and cannot lead elsewhere."""
        return self.folder / f"{key}.{self.member}"

    def has(self, key: str) -> bool:
        """Say whether a sample's file is there; files are whole or not at all."""
        return self.path(key).is_file()

    def put(self, key: str, data: bytes) -> None:
        """Write a sample's file."""
        write_bytes(self.path(key), data)

    def release(self) -> None:
        """Let other processes open it; what is there stays."""
        self._lock.close()

    def close(self) -> None:
        """Remove the folder."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def merge(
    folder: Path,
    index: ShardIndex,
    staging: Staging,
    drop: tuple[str, ...],
    made: Mapping[str, Any],
    progress: Callable[[int], object] = lambda samples: None,
) -> ShardIndex:
    """Write the shards anew with what is staged, all other members byte by byte as they were.

    A new shard has a new name, the index names it when it is whole, and then the old one goes: a stop in
    between leaves an index that is true. Repeated after a stop, shards that have what is staged stay.

    Args:
        folder: The shards.
        index: Their index.
        staging: What is put into them.
        drop: Extensions that the new shards lack.
        made: What the index says of how they were made, when all are done.
        progress: Called with the number of samples of each shard.
    """
    entries = list(index.shards)
    for number, old in enumerate(index.shards):
        _remove_older(folder, index, old.name)
        if _has_all(folder, old, staging, drop):
            progress(old.samples)
            continue
        entries[number] = write_members(folder, _next_name(old.name), _members(folder, old, staging, drop))
        replace(index, shards=tuple(entries)).write(folder)
        (folder / old.name).unlink()
        progress(old.samples)
    merged = replace(index, shards=tuple(entries), made=made)
    merged.write(folder)
    return merged


def _has_all(folder: Path, shard: ShardEntry, staging: Staging, drop: tuple[str, ...]) -> bool:
    """Tell whether a shard has what is staged for it already, and nothing that is to be dropped."""
    for found in find_samples(folder, shard, Faults()):
        if not found.members.keys().isdisjoint(drop):
            return False
        if not staging.has(found.key):
            continue
        offset, size = found.members.get(staging.member, (0, -1))
        with found.shard.open("rb") as file:
            file.seek(offset)
            if size < 0 or file.read(size) != staging.path(found.key).read_bytes():
                return False
    return True


def _remove_older(folder: Path, index: ShardIndex, name: str) -> None:
    """Remove the version before a shard's own, which a stop just after its successor was named has left."""
    match = _GENERATION.fullmatch(name)
    assert match is not None, "the index refuses other names"
    number = int(match["number"] or 1) - 1
    older = f"{match['stem']}{f'-v{number}' if number > 1 else ''}.tar"
    if number and older not in {shard.name for shard in index.shards}:
        (folder / older).unlink(missing_ok=True)


def _members(
    folder: Path, shard: ShardEntry, staging: Staging, drop: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    for found in find_samples(folder, shard, Faults()):
        with found.shard.open("rb") as file:
            members = {}
            for extension, (offset, size) in found.members.items():
                file.seek(offset)
                members[extension] = file.read(size)
        if staging.has(found.key):
            members[staging.member] = staging.path(found.key).read_bytes()
        # The reader wants the record first; the rest in the order of the schema.
        yield found.key, {name: members[name] for name in MEMBERS if name in members and name not in drop}


def _next_name(name: str) -> str:
    """Return the name of a shard's next version.

    Example:
        >>> _next_name("shard-000003.tar"), _next_name("shard-000003-v2.tar")
        ('shard-000003-v2.tar', 'shard-000003-v3.tar')
    """
    match = _GENERATION.fullmatch(name)
    assert match is not None, "the index refuses other names"
    return f"{match['stem']}-v{int(match['number'] or 1) + 1}.tar"
