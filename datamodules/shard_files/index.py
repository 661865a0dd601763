"""`index.json` beside the shards: what was written, so that what is missing can be seen.

A tar file that was cut between two members reads without any error, only with fewer samples; the index
is what makes that an error.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from keyface.celeba import ATTRIBUTES
from keyface.configuration import did_you_mean
from keyface.datamodules.shard_files.schema import SCHEMA
from keyface.files import sha256, write_text
from keyface.untrusted import UntrustedError, parse_json, read_bytes

NAME = "index.json"
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BUILT_IN = frozenset(ATTRIBUTES)


Content = bytes
"""Of a file; `ShardIndex` has a property of the type's name."""


class ShardError(ValueError):
    """Shards that cannot be used, said in one line that names the shard."""


@dataclass(frozen=True)
class ShardEntry:
    """One shard: its file name, and how many samples and bytes it holds.

    Attributes:
        name: The file's name.
        samples: How many samples; -1 where no index says so.
        bytes: Its size; -1 where nobody says so.
        sha256: Of its content; empty where no index says so.
    """

    name: str
    samples: int
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class ShardIndex:
    """All shards of a folder and how they were made.

    Attributes:
        shards: In order.
        made: Settings of the program that made them.
        attributes: Labels that the samples may have beside those of `keyface.celeba.ATTRIBUTES`.
    """

    shards: tuple[ShardEntry, ...]
    made: Mapping[str, Any] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """The number of samples in all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """The size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def json(self) -> str:
        """Return the content of `index.json`."""
        content = {
            "schema": SCHEMA,
            "samples": self.samples,
            "bytes": self.bytes,
            "made": dict(self.made),
            **({"attributes": list(self.attributes)} if self.attributes else {}),
            "shards": [vars(shard) for shard in self.shards],
        }
        return json.dumps(content, indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write `index.json`, whole or not at all."""
        write_text(folder / NAME, self.json())

    @classmethod
    def read(cls, folder: str | Path) -> "ShardIndex":
        """Read and check `folder/index.json`.

        Raises:
            ShardError: There is none, it is damaged, or it is of another schema.
        """
        path = local_folder(folder) / NAME
        try:
            return cls.parse(read_bytes(path), str(path))
        except FileNotFoundError as error:
            raise ShardError(
                f"{path}: not found; `keyface shards render` writes one, `keyface shards index` makes one"
            ) from error
        except UntrustedError as error:
            raise ShardError(str(error)) from error

    @classmethod
    def parse(cls, data: str | Content, path: str) -> "ShardIndex":
        """Read and check the content of an `index.json`.

        Args:
            data: The content.
            path: Where it lies, for messages.

        Raises:
            ShardError: It is damaged, or of another schema.
        """
        try:
            content = parse_json(data, path)
        except UntrustedError as error:
            raise ShardError(str(error)) from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else None
            raise ShardError(f"{path}: schema {found!r}, this version of keyface reads {SCHEMA}")
        index = cls(
            _entries(path, content.get("shards")),
            _made(path, content.get("made", {})),
            _attributes(path, content.get("attributes", [])),
        )
        if content.get("samples") != index.samples:
            raise ShardError(
                f"{path}: says {content.get('samples')} samples, its shards add to {index.samples}"
            )
        return index

    def undeclared(self, names: Iterable[str]) -> str:
        """Say which labels of a sample neither CelebA nor keyface nor this index knows, or nothing."""
        known = ATTRIBUTES + self.attributes
        return ", ".join(
            f"{name!r}{did_you_mean(name, known)}"
            for name in names
            if name not in _BUILT_IN | {*self.attributes}
        )

    def check_sizes(self, folder: Path) -> None:
        """Compare every shard's size on disk with the index; costs one `stat` a shard."""
        for shard in self.shards:
            path = folder / shard.name
            if not path.is_file():
                raise ShardError(f"{path}: listed in {NAME} but missing; render or copy it again")
            size = path.stat().st_size
            if size != shard.bytes:
                raise ShardError(
                    f"{path}: {size} bytes, {NAME} says {shard.bytes}; it was cut or changed, "
                    "render or copy it again"
                )

    def check_hashes(self, folder: Path, progress: Callable[[str], None] | None = None) -> None:
        """Compare every shard's SHA-256 with the index; reads everything."""
        for shard in self.shards:
            if sha256(folder / shard.name) != shard.sha256:
                raise ShardError(
                    f"{folder / shard.name}: SHA-256 differs from {NAME}; render or copy it again"
                )
            if progress is not None:
                progress(shard.name)


def local_folder(place: str | Path) -> Path:
    """Return the folder of shards; anything that would be opened by other means than the disk is refused."""
    text = str(place)
    if text.startswith("pipe:") or "://" in text:
        raise ShardError(f"{text!r}: refused; this takes a folder on the disk")
    folder = Path(place)
    if not folder.is_dir():
        raise ShardError(
            f"{folder}: no such folder; `keyface shards render -o {folder}` makes miniature shards"
        )
    return folder


def _entries(path: str, shards: object) -> tuple[ShardEntry, ...]:
    if not isinstance(shards, list) or not shards:
        raise ShardError(f"{path}: lists no shards")
    entries = []
    for item in shards:
        fields = item if isinstance(item, dict) else {}
        name, samples, size, digest = (fields.get(key) for key in ("name", "samples", "bytes", "sha256"))
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
            raise ShardError(
                f"{path}: refused shard name {name!r}; it must be a plain 'name.tar' in the same folder"
            )
        # The digest names the copy in a cache: anything else in it could lead out of that folder.
        sound = isinstance(digest, str) and _SHA256.fullmatch(digest) is not None
        if not sound or not _is_count(samples) or not _is_count(size):
            raise ShardError(f"{path}: shard {name!r} needs samples, bytes and sha256 (64 hex digits)")
        entries.append(ShardEntry(name, samples, size, str(digest)))
    if len({entry.name for entry in entries}) < len(entries):
        raise ShardError(f"{path}: lists a shard twice")
    return tuple(entries)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _made(path: str, made: object) -> dict[str, Any]:
    if not isinstance(made, dict):
        raise ShardError(f"{path}: 'made' must map settings to values")
    return made


def _attributes(path: str, names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ShardError(f"{path}: 'attributes' must be a list of labels")
    for name in names:
        if name in _BUILT_IN or not re.fullmatch(r"\w+", name):
            raise ShardError(
                f"{path}: attribute {name!r}: it must be letters, digits and '_', and no label that CelebA "
                "or keyface has"
            )
    return tuple(names)
