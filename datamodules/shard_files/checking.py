"""Shards on the disk are compared with their index's SHA-256 when they are first opened, and once only."""

import os
from pathlib import Path

from keyface.datamodules.shard_files.index import NAME, ShardEntry
from keyface.datamodules.shard_files.schema import SampleError
from keyface.files import sha256, write_text


def check_content(path: Path, entry: ShardEntry, kept: Path) -> None:
    """Refuse a shard whose content is not what its index says.

    What was found true is kept: until the file is written again it is not read again, which of 100 GB takes
    minutes.

    Args:
        path: The shard.
        entry: What the index says of it; without a hash nothing is checked.
        kept: Folder that keeps which files were checked; where nothing can be written, none is.

    Raises:
        SampleError: The content is another.
        OSError: The shard cannot be read.
    """
    if not entry.sha256:
        return
    note, state = kept / f"{entry.sha256[:32]}.checked", _state(path)
    try:
        if state in note.read_text().splitlines():
            return
    except (OSError, UnicodeDecodeError):
        pass
    if sha256(path) != entry.sha256:
        raise SampleError(f"its SHA-256 differs from {NAME}; it was changed, render or copy it again")
    try:
        write_text(note, f"{state}\n")
    except OSError:
        return


def _state(path: Path) -> str:
    """Return what changes when a file is written: with a byte inside it the times alone."""
    found = os.stat(path)
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
