"""One process at a time in a folder. Imports nothing heavy."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"
"""The file by which a folder is locked; it is there while a process works in the folder."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of keyface out of a folder inside the block.

    The lock ends with the process, however it ends.

    Args:
        folder: What is written into; it is made if need be, and removed if nothing was written.

    Raises:
        ValueError: Another process is at work in it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another process is at work in it; wait until it ends") from None
        if not _is(path, lock.fileno()):  # its owner has just ended and removed it
            raise ValueError(f"{folder}: another process was at work in it; repeat the command")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made and not any(folder.iterdir()):
                folder.rmdir()


def _is(path: Path, handle: int) -> bool:
    """Tell whether a file of this name is still the one that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
