"""The files of a study that anybody may read, opened so that no link leads elsewhere; parts of them."""

import os
import re
import stat
from typing import IO

from keyface.study.folder import Study

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class UnsatisfiableError(ValueError):
    """A part is asked for that a file does not have."""


def open_public(study: Study, name: str) -> IO[bytes]:
    """Open a file of the list; neither it nor a folder on the way to it may be a link.

    Raises:
        OSError: It is not there, or is a link, a folder or a pipe.
    """
    folder = os.open(study.folder / "public", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        *folders, last = name.split("/")
        for each in folders:
            inner = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        file = os.fdopen(os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb")
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(name)
    return file


def wanted_part(header: str, size: int) -> tuple[int, int] | None:
    """Return which bytes a player asks for, the first and the one after the last; None: all.

    Args:
        header: The request's Range; several parts at once, or what is none, count as all (RFC 9110, 14.2).
        size: Of the file.

    Raises:
        UnsatisfiableError: The file has no such bytes.

    Example:
        >>> wanted_part("bytes=2-", 10), wanted_part("bytes=-2", 10), wanted_part("", 10)
        ((2, 10), (8, 10), None)
    """
    found = _RANGE.fullmatch(header)
    if found is None or not any(found.groups()):
        return None
    low, high = found.groups()
    first = int(low) if low else max(size - int(high), 0)
    end = min(int(high) + 1, size) if low and high else size
    if first >= size or first >= end:
        raise UnsatisfiableError(header)
    return first, end
