"""Fetches files over https, s3 and gs by fsspec, part by part, so that a broken connection loses little."""

import time
from pathlib import Path
from typing import Any

import fsspec

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_sources.places import shown
from keyface.files import no_room

PART = 16 * 2**20
"""Bytes that are asked for at once."""

TRIES = 4
_SECONDS = 0.25
"""Pause after the first failure; each is twice as long as the one before."""

_VERSION = ("ETag", "etag", "Last-Modified", "LastModified", "Content-MD5", "md5Hash", "updated", "created")


def read(url: str) -> bytes | None:
    """Return a small file's content, or None if there is none that may be seen.

    Raises:
        ShardError: It cannot be fetched.
    """
    try:
        return _bytes(url, None, None)
    except (FileNotFoundError, PermissionError):
        return None


def describe(url: str) -> tuple[int, str]:
    """Return a file's size, -1 if it is not told, and what tells its version from others.

    Raises:
        ShardError: It is not there, or the host does not answer.
    """
    try:
        system, path = _opened(url)
        info: dict[str, Any] = system.info(path)
    except (FileNotFoundError, PermissionError) as error:
        raise ShardError(f"{shown(url)}: {_refusal(error)}") from error
    except ShardError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise ShardError(f"{shown(url)}: the host cannot be asked for it ({error!r:.120})") from error
    size = info.get("size")
    version = [str(info[name]) for name in _VERSION if name in info]
    return (-1 if size is None else int(size)), " ".join([str(size), *version])


def receive(url: str, part: Path, size: int) -> None:
    """Fetch a file, or the rest of it.

    Args:
        url: Of `places.SCHEMES`.
        part: Where it is written, and where an earlier call may have left its beginning.
        size: Its bytes; -1 if nobody knows.

    Raises:
        ShardError: It is not there, the connection broke again and again (what came stays), or the disk is
            full (nothing stays).
    """
    here = part.stat().st_size if part.exists() else 0
    while size < 0 or here < size:
        end = None if size < 0 else min(size, here + PART)
        try:
            data = _bytes(url, here or None, end)
        except (FileNotFoundError, PermissionError) as error:
            raise ShardError(f"{shown(url)}: {_refusal(error)}") from error
        if end is None or len(data) > end - here:
            here = 0  # the host sends the whole, whatever part it is asked for
        if not data:
            raise ShardError(
                f"{shown(url)}: ends after {here} of {size} bytes; it is being written, or was cut"
            )
        _write(part, here, data)
        here += len(data)
        if size < 0:
            return


def _bytes(url: str, start: int | None, end: int | None) -> bytes:
    """Return a part of a file's content, after several tries.

    Raises:
        FileNotFoundError: There is none.
        PermissionError: It may not be read.
        ShardError: All tries failed.
    """
    for left in reversed(range(TRIES)):
        try:
            system, path = _opened(url)
            data: bytes = system.cat_file(path, start=start, end=end)
            return data
        except (FileNotFoundError, PermissionError, ShardError):
            raise
        except Exception as error:  # each file system has errors of its own
            if getattr(error, "status", None) in (401, 403):  # HTTP's
                raise PermissionError(str(error)) from error
            if not left:
                came = f"; the {start} bytes that came are kept" if start else ""
                raise ShardError(
                    f"{shown(url)}: cannot be fetched, {TRIES} tries failed ({error!r:.120}){came}"
                ) from error
            time.sleep(_SECONDS * 2 ** (TRIES - 1 - left))
    raise AssertionError("the last try returns or raises")


def _opened(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it; anew in each process, as it asks for."""
    try:
        system, path = fsspec.url_to_fs(url)
    except ImportError as error:
        scheme = url.partition(":")[0]
        raise ShardError(f"{shown(url)}: {error}; pip install 'keyface[{scheme}]'") from error
    return system, path


def _refusal(error: OSError) -> str:
    return "not found" if isinstance(error, FileNotFoundError) else f"may not be read ({error!s:.120})"


def _write(part: Path, start: int, data: bytes) -> None:
    try:
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(data)
    except OSError as error:
        reason = no_room(error.errno, part.parent)
        if reason is None:
            raise
        part.unlink(missing_ok=True)
        raise ShardError(f"{part.parent}: {reason} by giving the data another `cache`") from error
