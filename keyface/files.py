"""Files: written whole or not at all, hashed, refused where the disk has no room. Imports nothing heavy."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Publish = Callable[[Path, Path], None]
"""Gives a finished file under a temporary name its own, as `publish` does."""

_LONGEST_NAME = 255
"""Bytes of a file's name that the usual file systems take."""

_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path, finish: Publish | None = None) -> Iterator[Path]:
    """Give a temporary name beside a file; what is written there takes the file's place when the block ends.

    When the block ends with an error, what was written goes and an older file stays as it was.

    Args:
        path: The file; its folder is made if need be.
        finish: What gives it its name; None is `publish`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with named_when_full(path):
            yield temporary
            (finish or publish)(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named_when_full(path: Path, needed: int | None = None) -> Iterator[None]:
    """Say of a disk that became full while a file was written which file, what it needs and what is free.

    Args:
        path: The file; its folder's disk counts.
        needed: Bytes that it takes; None: nobody knows.

    Raises:
        OSError: The block had one of a full disk, a quota or a limit of size.
    """
    try:
        yield
    except OSError as error:
        reason = no_room(error.errno, path.parent, needed)
        if reason is None:
            raise
        raise OSError(f"{path}: {reason}") from error


def no_room(number: int | None, folder: Path, needed: int | None = None) -> str | None:
    """Return what to say where a disk, a quota or a limit of size ended the writing of a file.

    Args:
        number: The system's number of the error that ended it.
        folder: Of the file.
        needed: Bytes that it takes; None: nobody knows.

    Returns:
        What is needed, what is free and what to do; None where the error is another one.
    """
    if number == errno.EFBIG:  # however much is free
        return "it would be larger than a file may be here; see `ulimit -f`, or choose another disk"
    if number not in _FULL:
        return None
    free = shutil.disk_usage(_existing(folder)).free
    wanted = "" if needed is None else f"{needed / 1e6:,.1f} MB are needed and "
    return f"the disk is full, {wanted}{free / 1e6:,.1f} MB are free; make room, or choose another disk"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made if need be."""
    with replacing(path) as temporary, named_when_full(path, len(content)):
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, see `write_bytes`.

    Names of files need not be UTF-8: bytes of them that are not are escaped, in the way that JSON reads.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def require_folder(path: Path) -> None:
    """Refuse, before anything slow, a folder that cannot be made or written into.

    Args:
        path: The folder; it, and those above it, need not exist yet.

    Raises:
        ValueError: It, or a folder above it, is a file, or nothing may be written there.
    """
    require_local(path)
    place = _existing(path)
    if not place.is_dir():
        raise ValueError(f"{place}: is a file, where a folder is needed; give another place")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        raise ValueError(
            f"{place}: nothing may be written into this folder; give another place, or change whom it "
            "belongs to"
        )


def require_file_name(path: Path) -> None:
    """Refuse, before anything slow, the name of a file that cannot be written.

    Args:
        path: The file; an older one may have the name.

    Raises:
        ValueError: It is a folder's name, a pipe's or a device's, an address in a network or a link to
            itself; a folder above it is a file, nothing may be written there, or the name is too long with
            what is added to it while it is written.
    """
    require_local(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the name of a file")
    require_folder(path.parent)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is a pipe, a device or the like, and no file; give the name of a file")
    if len(os.fsencode(temporary_beside(path).name)) > _LONGEST_NAME:
        longest = _LONGEST_NAME - len(os.fsencode(temporary_beside(Path("a")).name)) + 1
        raise ValueError(f"{path}: the name is too long; give one of at most {longest} bytes")


def require_local(path: Path) -> None:
    """Refuse what is no place on a disk: an address such as tcp://host/x.mp4, or a link that leads to itself.

    Raises:
        ValueError: It is.
    """
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r}: holds a zero byte, which no name of a file can")
    if len(path.parts) > 1 and _PROTOCOL.fullmatch(path.parts[0]) and not path.parents[-2].exists():
        raise ValueError(f"{path}: is an address, and keyface writes to disks alone; give a file's name")
    try:
        path.resolve()
    except (RuntimeError, OSError) as error:  # RuntimeError: a loop, until Python 3.13
        looped = f"{path}: is, or lies below, a link that leads to itself; give another place"
        raise ValueError(looped) from error


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse what a disk has no room for.

    Args:
        folder: Where it is to be written; it need not exist yet.
        needed: Most bytes that it takes.
        what: What it is, for the message.

    Raises:
        ValueError: Less is free.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise ValueError(
            f"{folder}: {what} may take up to {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; make "
            "room or choose another disk"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal; the file is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sha256(hashes: Iterable[tuple[str, str]]) -> str:
    """Return one SHA-256 for several files, from (name, SHA-256) of each, in their order."""
    text = "".join(f"{name} {digest}\n" for name, digest in hashes)
    return hashlib.sha256(text.encode()).hexdigest()


def json_text(content: object, *, allow_nan: bool = False) -> str:
    """Return content as JSON for a file; what JSON does not know is written as text.

    Args:
        content: What to write.
        allow_nan: Whether NaN and infinity may be in it, which not every program reads.

    Raises:
        ValueError: There is a NaN or an infinity that may not be.
    """
    return json.dumps(content, indent=1, ensure_ascii=False, default=str, allow_nan=allow_nan) + "\n"


def temporary_beside(path: Path) -> Path:
    """Return a name for writing that nobody else takes, in the folder of the file and so on its disk."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def remove_leftovers(path: Path) -> None:
    """Remove what processes left beside a file that were killed while they wrote it.

    Args:
        path: The file, which nobody else writes now.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    for each in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(each.name):
            each.unlink(missing_ok=True)


def publish(source: Path, target: Path) -> None:
    """Give a finished file its name, which then survives even a power cut.

    Args:
        source: The file under its temporary name.
        target: Its name, on the same disk.
    """
    sync(source)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Bring a file, or what a folder lists, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
