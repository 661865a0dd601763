"""Local copies of remote shards: whole, checked, shared by processes; the longest unused ones go first."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.reader import Found
from keyface.datamodules.shard_files.schema import parse_record
from keyface.datamodules.shard_sources.fetching import receive
from keyface.datamodules.shard_sources.places import shown
from keyface.files import publish, sha256, write_text
from keyface.untrusted import read_json

_MOST_LISTED = 2**30

FOLDER_VARIABLE = "KEYFACE_SHARD_CACHE"


def default_folder() -> Path:
    """Return what KEYFACE_SHARD_CACHE says, or a folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(cache) / "keyface" / "shards").expanduser()


@dataclass(frozen=True)
class Remote:
    """A shard behind a URL.

    Attributes:
        url: Where.
        key: Names its copy: other content has another key.
        size: Its bytes; -1 if nobody knows.
        sha256: Of its content; empty where no index says so.
    """

    url: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ShardCache:
    """A folder of copies.

    Attributes:
        folder: Made when it is needed.
        limit: Most bytes of copies, those included that are on the way.
    """

    folder: Path
    limit: int

    def fetch(self, shard: Remote) -> Path:
        """Return a shard's copy, fetched if it is not there.

        Raises:
            ShardError: It cannot be fetched, is not what its index says, or finds no room.
        """
        copy = self._copy(shard.key)
        if self._is_here(shard):
            return copy
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / f"{shard.key}.lock"):
            if self._is_here(shard):  # another process has fetched it meanwhile
                return copy
            part = self._part(shard)
            resumed = part.exists() and part.stat().st_size > 0
            while not self._admit(shard, part):
                time.sleep(0.1)
            receive(shard.url, part, shard.size)
            try:
                _check(shard, part)
            except ShardError:
                if not resumed:
                    raise
                receive(shard.url, part, shard.size)  # its beginning was of another version
                _check(shard, part)
            publish(part, copy)
        return copy

    def listing(self, shard: Remote) -> list[Found] | None:
        """Return what `keep_listing` kept of a shard's samples, or None; the copy may be gone."""
        try:
            content = read_json(self._listing(shard), limit=_MOST_LISTED)
            return [
                Found(
                    self._copy(shard.key),
                    key,
                    {name: (int(at), int(size)) for name, (at, size) in members.items()},
                    record,
                )
                for key, members, text in content
                for record in [parse_record(text.encode())]
            ]
        except (OSError, ValueError, TypeError, AttributeError):  # none there, or damaged: found anew
            return None

    def keep_listing(self, shard: Remote, found: list[Found]) -> None:
        """Keep what was found in a shard, so that the next run need not fetch it to know its samples."""
        content = []
        with self._copy(shard.key).open("rb") as file:
            for each in found:
                start, size = each.members["json"]
                file.seek(start)
                content.append((each.key, dict(each.members), file.read(size).decode()))
        write_text(self._listing(shard), json.dumps(content))

    def _copy(self, key: str) -> Path:
        return self.folder / f"{key}.tar"

    def _listing(self, shard: Remote) -> Path:
        return self.folder / f"{shard.key}.json"

    def _part(self, shard: Remote) -> Path:
        # The size that it will have stands in the name: others keep that much free.
        return self.folder / f"{shard.key}.{max(0, shard.size)}.part"

    def _is_here(self, shard: Remote) -> bool:
        copy = self._copy(shard.key)
        try:
            size = copy.stat().st_size
            if shard.size in (-1, size):
                os.utime(copy)  # the time of its last use, for `_oldest`
                return True
        except FileNotFoundError:
            return False
        copy.unlink(missing_ok=True)  # it was cut by something else
        return False

    def _admit(self, shard: Remote, part: Path) -> bool:
        """Make room for a shard; say whether it may be fetched now, or must wait for others on the way.

        Raises:
            ShardError: It is larger than the cache, or the disk has no room for it.
        """
        size = max(0, shard.size)
        if size > self.limit:
            raise ShardError(
                f"{shown(shard.url)}: {size / 1e9:.2f} GB, the cache holds {self.limit / 1e9:.2f}; "
                "raise cache_gb"
            )
        with _locked(self.folder / "lock"):
            while True:
                here = part.stat().st_size if part.exists() else 0
                used = sum(self._held(each) for each in self._files() if each != part)
                lacking = size - here - shutil.disk_usage(self.folder).free
                if used + size <= self.limit and lacking <= 0:
                    part.touch()
                    return True
                oldest = self._oldest(part)
                if oldest is not None:
                    oldest.unlink(missing_ok=True)
                elif lacking > 0:
                    raise ShardError(
                        f"{self.folder}: no room for {shown(shard.url)}, {lacking / 1e6:,.0f} MB more are "
                        "needed; make room, or give the data another `cache`"
                    )
                else:
                    return False

    def _files(self) -> Iterator[Path]:
        yield from self.folder.glob("*.tar")
        yield from self.folder.glob("*.part")

    def _held(self, file: Path) -> int:
        """Return the bytes that a file takes, or will."""
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            return 0
        return size if file.suffix == ".tar" else max(size, int(file.name.split(".")[1]))

    def _oldest(self, part: Path) -> Path | None:
        """Return the copy that was not used for the longest time, or what a killed process left; or None."""
        times: dict[Path, float] = {}
        for each in self._files():
            if each != part and (
                each.suffix == ".tar" or _is_free(each.with_name(f"{each.name.split('.')[0]}.lock"))
            ):
                try:
                    times[each] = each.stat().st_mtime
                except FileNotFoundError:
                    continue
        return min(times, key=lambda each: times[each], default=None)


def _check(shard: Remote, part: Path) -> None:
    """Refuse, and remove, what is not what the index says."""
    if shard.sha256 and (came := sha256(part)) != shard.sha256:
        part.unlink()
        raise ShardError(
            f"{shown(shard.url)}: sha256 {came} came, its index says {shard.sha256}; nothing is kept"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it; it ends with the process at the latest."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_free(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
