"""Reads shards: finds the samples of a tar file, and decodes them when they are wanted.

Finding reads the archive's headers and the JSON members only and skips the rest, so that samples of the
other split, of no use to the edits, or before the point of a resumed run cost next to nothing.
"""

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from keyface.datamodules.shard_files.index import ShardEntry, ShardError
from keyface.datamodules.shard_files.schema import (
    IMAGE_FORMATS,
    LATENTS,
    MASK,
    Record,
    Sample,
    SampleError,
    decode_image,
    decode_latents,
    decode_mask,
    parse_record,
    require_inside,
    split_name,
)

MAX_JSON_BYTES = 1 << 20

UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, LookupError, MemoryError)
"""What tarfile raises for archives that are damaged or hostile: numbers in headers may be any text."""

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Found:
    """A sample that was found but not decoded: where its members lie in the shard, and its record."""

    shard: Path
    key: str
    members: Mapping[str, tuple[int, int]]
    record: Record


class Faults:
    """Counts what cannot be read, and decides when it is too much.

    Args:
        limit: How many bad samples or shards are passed over; with 0 the first one raises.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.seen: dict[tuple[str, str], str] = {}

    def report(self, shard: Path | str, key: str, error: Exception) -> None:
        """Count one fault, once for each key however often it is read, or raise.

        Raises:
            ShardError: The limit is passed.
        """
        what = f"{shard}, sample {key!r}" if key else f"{shard}"
        self.seen[str(shard), key] = str(error)
        if len(self.seen) > self.limit:
            counted = f" ({len(self.seen)} faults, {self.limit} are tolerated)" if self.limit else ""
            raise ShardError(f"{what}: {error}{counted}; `keyface shards verify` lists all faults") from error


def find_samples(folder: Path, shard: ShardEntry, faults: Faults) -> list[Found]:
    """Find every sample of a shard of a folder; see `samples_of`."""
    return samples_of(folder / shard.name, shard.samples, faults)


def samples_of(path: Path, expected: int, faults: Faults, name: str = "") -> list[Found]:
    """Find every sample of a shard, checked but not decoded, in the order of the file.

    Args:
        path: The file.
        expected: How many samples its index says; -1 where there is no index.
        faults: Counts what is wrong.
        name: What messages call the shard; the path if empty.

    Raises:
        ShardError: The shard is garbage, was cut, or holds what it must not, beyond what is tolerated.
    """
    said = name or path
    try:
        groups = list(_groups(path))
    except UNREADABLE as error:
        faults.report(said, "", SampleError(f"is not a readable tar file ({error})"))
        return []
    found: list[Found] = []
    keys: set[str] = set()
    for key, members, wrong in groups:
        try:
            if wrong is not None:
                raise wrong
            if key in keys:
                raise SampleError("the key occurs twice")
            found.append(_check(path, key, members))
        except SampleError as problem:
            faults.report(said, key, problem)
        keys.add(key)
    if expected >= 0 and len(keys) != expected:
        what = f"holds {len(keys)} samples, its index says {expected}; it was cut or changed"
        faults.report(said, "", SampleError(what))
    return found


def count_keys(path: Path) -> int:
    """Return how many samples a shard seems to hold.

    Raises:
        ShardError: It is not a tar file, or was cut.
    """
    try:
        return len({key for key, _, _ in _groups(path)})
    except UNREADABLE as error:
        raise ShardError(f"{path}: is not a readable tar file ({error})") from error


def load_sample(found: Found, *, with_mask: bool = False, with_latents: bool = False) -> Sample:
    """Decode a sample that was found; see `read_sample`."""
    with found.shard.open("rb") as file:
        return read_sample(file, found.key, found.members, with_mask=with_mask, with_latents=with_latents)


def read_sample(
    file: BinaryIO,
    key: str,
    members: Mapping[str, tuple[int, int]],
    *,
    with_mask: bool = False,
    with_latents: bool = False,
) -> Sample:
    """Decode a sample of an open shard.

    Args:
        file: The shard.
        key: The sample's key.
        members: Offset and size of each of its members.
        with_mask: Whether the label map is read.
        with_latents: Whether the latents are.

    Raises:
        SampleError: A member is missing or cannot be decoded.
    """
    image_format = next(extension for extension in IMAGE_FORMATS if extension in members)

    def read(extension: str, decode: Callable[[bytes], _Read]) -> _Read:
        if extension not in members:
            raise SampleError(f"has no {extension}")
        offset, size = members[extension]
        file.seek(offset)
        return decode(file.read(size))

    record = read("json", parse_record)
    image = read(image_format, lambda data: decode_image(data, image_format))
    require_inside(record.landmarks, image.shape[0])
    if "txt" in members:
        record = replace(record, caption=read("txt", _caption))
    mask = read(MASK, decode_mask) if with_mask else None
    latents = read(LATENTS, decode_latents) if with_latents else None
    if mask is not None and mask.shape != image.shape[:2]:
        raise SampleError(f"its mask is {mask.shape}, its image {image.shape[:2]}")
    return Sample(key, image, record, mask, latents)


def _caption(data: bytes) -> str:
    try:
        caption = data.decode().strip()
    except UnicodeDecodeError as error:
        raise SampleError(f"its txt is not UTF-8: {error}") from error
    if not caption:
        raise SampleError("its txt is empty")
    return caption


def _groups(path: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]], SampleError | None]]:
    """Yield (key, members, what is wrong with them) for each run of members with one key."""
    current: str | None = None
    members: dict[str, tuple[int, int]] = {}
    problem: SampleError | None = None
    # Uncompressed and seekable only: nothing is unpacked, and skipping is a seek.
    with tarfile.open(path, mode="r:") as archive:
        for member in archive:
            key, extension, error = _classify(member)
            if key != current:
                if current is not None:
                    yield current, members, problem
                current, members, problem = key, {}, None
            if error is None and extension in members:
                error = SampleError(f"has two {extension} members")
            problem = problem or error
            members[extension] = (member.offset_data, member.size)
        # The archive ends with two blocks of zeros; without them it was cut just between two members.
        if archive.offset >= path.stat().st_size:
            raise tarfile.ReadError("unexpected end of data")
    if current is not None:
        yield current, members, problem


def _classify(member: tarfile.TarInfo) -> tuple[str, str, SampleError | None]:
    try:
        key, extension = split_name(member.name)
    except SampleError as error:
        return member.name.partition(".")[0] or member.name, member.name, error
    if not member.isreg():
        return key, extension, SampleError(f"refused member {member.name!r}: it is a link or a special file")
    return key, extension, None


def _check(path: Path, key: str, members: Mapping[str, tuple[int, int]]) -> Found:
    if "json" not in members:
        raise SampleError("has no json")
    images = [extension for extension in IMAGE_FORMATS if extension in members]
    if len(images) != 1:
        raise SampleError("has two images" if images else "has no image (jpg or png)")
    offset, size = members["json"]
    if size > MAX_JSON_BYTES:
        raise SampleError(f"its json has {size} bytes, the limit is {MAX_JSON_BYTES}")
    with path.open("rb") as file:
        file.seek(offset)
        return Found(path, key, dict(members), parse_record(file.read(size)))
