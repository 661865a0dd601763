"""All shards of a data set, wherever they lie: what is in each, and how it is opened."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from lightning.pytorch.utilities import rank_zero_info

from keyface.datamodules.shard_files.checking import check_content
from keyface.datamodules.shard_files.index import NAME, ShardEntry, ShardError, ShardIndex, local_folder
from keyface.datamodules.shard_files.order import LANES
from keyface.datamodules.shard_files.reader import Faults, Found, samples_of
from keyface.datamodules.shard_files.schema import SampleError
from keyface.datamodules.shard_sources.cache import Remote, ShardCache
from keyface.datamodules.shard_sources.fetching import describe, read
from keyface.datamodules.shard_sources.places import Given, beside, expand, is_url, shown

OPENED_AT_ONCE = 2 * LANES
"""Shards that a pass may need at one time: one a lane, and the next where a lane's samples are mixed."""


@dataclass(frozen=True)
class Shards:
    """The shards of a data set, in order.

    Attributes:
        given: What they were called by, for messages.
        places: The path or URL of each.
        index: What their index says of them, in the same order; where there is none, their sizes alone.
        cache: Holds the copies of remote ones.
        versions: What their hosts tell of the version of those that no index describes; empty of others.
        indexed: Whether indexes describe them all.
    """

    given: str
    places: tuple[str, ...]
    index: ShardIndex
    cache: ShardCache
    versions: tuple[str, ...] = ()
    indexed: bool = True

    @classmethod
    def find(cls, given: Given, cache: ShardCache) -> "Shards":
        """Find the shards that a folder, a pattern or a list names.

        Raises:
            ShardError: Something of it is refused, missing or cut, or the cache is too small.
        """
        places = expand(given)
        if places is None:
            assert isinstance(given, str | Path)
            found = _in_folder(given, cache)
        else:
            entries = [_entry(place) for place in places]
            name = shown(str(given)) if isinstance(given, str | Path) else f"{len(places)} shards"
            found = _with_index(cls(name, tuple(places), ShardIndex(tuple(entries)), cache))
        found._require_room()
        return found

    def __len__(self) -> int:
        return len(self.places)

    @property
    def is_remote(self) -> bool:
        """Whether any of them must be fetched."""
        return any(map(is_url, self.places))

    def name(self, number: int) -> str:
        """Return what messages call a shard."""
        return shown(self.places[number])

    def open(self, number: int) -> BinaryIO:
        """Open a shard, fetched before if need be.

        Raises:
            ShardError: It cannot be fetched.
        """
        if not is_url(self.places[number]):
            return Path(self.places[number]).open("rb")
        while True:
            try:
                return self.cache.fetch(self._remote(number)).open("rb")
            except FileNotFoundError:  # it had to give way to another at this very moment
                continue

    def samples(self, number: int, faults: Faults) -> list[Found]:
        """Find the samples of a shard, whose content is checked first; see `reader.samples_of`."""
        entry = self.index.shards[number]
        expected = entry.samples
        if not is_url(self.places[number]):
            path = Path(self.places[number])
            try:
                check_content(path, entry, self.cache.folder)
            except (SampleError, OSError) as error:
                faults.report(self.name(number), "", error)
            return samples_of(path, expected, faults, self.name(number))
        remote = self._remote(number)
        found = self.cache.listing(remote)
        if found is None:
            before = len(faults.seen)
            found = samples_of(self.cache.fetch(remote), expected, faults, self.name(number))
            if len(faults.seen) == before:
                self.cache.keep_listing(remote, found)
        return found

    def _remote(self, number: int) -> Remote:
        entry, url = self.index.shards[number], self.places[number]
        # Other content has another name, as far as anybody tells of it.
        key = entry.sha256 or hashlib.sha256(f"{url} {self.versions[number]}".encode()).hexdigest()
        return Remote(url, key[:32], entry.bytes, entry.sha256)

    def _require_room(self) -> None:
        """Refuse a cache in which shards would push each other out again and again."""
        sizes = sorted(
            (
                entry.bytes
                for entry, place in zip(self.index.shards, self.places, strict=True)
                if is_url(place)
            ),
            reverse=True,
        )
        needed = sum(sizes[:OPENED_AT_ONCE])
        if needed > self.cache.limit:
            raise ShardError(
                f"{self.given}: up to {min(len(sizes), OPENED_AT_ONCE)} shards are read side by side, "
                f"{needed / 1e9:.2f} GB, the cache holds {self.cache.limit / 1e9:.2f}; raise cache_gb, or "
                "write smaller shards"
            )


def _in_folder(given: str | Path, cache: ShardCache) -> Shards:
    if is_url(given):
        folder = str(given).rstrip("/")
        index = _remote_index(f"{folder}/{NAME}")
        if index is None:
            raise ShardError(
                f"{shown(folder)}/{NAME}: not found; name the shards, as in {shown(folder)}/shard-"
                "{000000..000009}.tar, or put an index there (`keyface shards index`)"
            )
        return Shards(shown(folder), tuple(f"{folder}/{each.name}" for each in index.shards), index, cache)
    path = local_folder(given)
    if (path / NAME).exists():
        index = ShardIndex.read(path)
        index.check_sizes(path)
        return Shards(str(path), tuple(str(path / each.name) for each in index.shards), index, cache)
    places = sorted(str(each) for each in path.glob("*.tar"))
    if not places:
        raise ShardError(f"{path}: holds neither {NAME} nor tar files; `keyface shards render` makes some")
    _tell_of_no_index(str(path))
    entries = ShardIndex(tuple(_entry(place) for place in places))
    return Shards(str(path), tuple(places), entries, cache, indexed=False)


def _entry(place: str) -> ShardEntry:
    """Return what can be told of a shard without an index: of a remote one nothing yet."""
    name = Path(place).name
    if is_url(place):
        return ShardEntry(name, -1, -1)
    if not Path(place).is_file():
        raise ShardError(f"{place}: no such shard")
    return ShardEntry(name, -1, Path(place).stat().st_size)


def _with_index(shards: Shards) -> Shards:
    """Take what the indexes beside the shards say of them; ask hosts about those that none describes."""
    indexes: dict[str, ShardIndex | None] = {}
    entries: list[ShardEntry] = []
    versions: list[str] = []
    for place, entry in zip(shards.places, shards.index.shards, strict=True):
        # A signed URL is of one file alone.
        where = "" if "?" in place else beside(place, NAME)
        if where not in indexes:
            indexes[where] = _index_at(where) if where else None
        listed = {each.name: each for each in getattr(indexes[where], "shards", ())}.get(entry.name)
        version = ""
        if listed is None and is_url(place):
            size, version = describe(place)
            entry = replace(entry, bytes=size)
        elif listed is not None and not is_url(place):
            ShardIndex((listed,)).check_sizes(Path(place).parent)
        entries.append(listed or entry)
        versions.append(version)
    indexed = all(entry.sha256 for entry in entries)
    if not indexed:
        _tell_of_no_index(shards.given)
    declared = {name for index in indexes.values() if index for name in index.attributes}
    index = ShardIndex(tuple(entries), attributes=tuple(sorted(declared)))
    return replace(shards, index=index, versions=tuple(versions), indexed=indexed)


def _index_at(place: str) -> ShardIndex | None:
    if is_url(place):
        return _remote_index(place)
    return ShardIndex.read(Path(place).parent) if Path(place).exists() else None


def _remote_index(url: str) -> ShardIndex | None:
    content = read(url)
    if content is None:
        return None
    return ShardIndex.parse(content, shown(url))


def _tell_of_no_index(given: str) -> None:
    rank_zero_info(
        f"{given}: no {NAME} with the shards' SHA-256, so only cut files would be noticed; "
        "`keyface shards index FOLDER` makes one"
    )
