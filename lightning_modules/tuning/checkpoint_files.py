"""How checkpoints come to the disk: whole, with their SHA-256 beside them."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from keyface.files import named_when_full, publish, remove_leftovers, replacing, sync, temporary_beside
from keyface.weights.checksum import checksum_file, require_checksum, write_checksum


class CheckedCheckpointIO(TorchCheckpointIO):
    """Write Lightning's files beside their place, each with a checksum that is compared when it is read.

    Lightning itself writes a checkpoint to the system's folder for temporary files, and copies it from there
    where that is another disk: an error on the way leaves a part of it in its place.

    A run killed between a checkpoint and its checksum leaves the checkpoint without one, which is then taken
    unchecked: the checksum before it goes first.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint, whole or not at all, then its checksum."""
        if "://" in str(path) or storage_options is not None:  # somewhere else than on a disk
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        remove_leftovers(place)
        content = io.BytesIO()  # torch's own writer tells of a full disk as a fault of its code
        torch.save(checkpoint, content)
        _write(place, content.getbuffer())
        write_checksum(place)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Load a checkpoint.

        Raises:
            ValueError: It is not what was saved.
        """
        require_checksum(Path(path))
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **options)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its checksum."""
        if "://" not in str(path):
            checksum_file(Path(path)).unlink(missing_ok=True)
        super().remove_checkpoint(path)


def _write(place: Path, content: memoryview) -> None:
    """Write a checkpoint, whole or not at all; until it is whole it has no name, so a kill leaves nothing."""

    def finish(temporary: Path, target: Path) -> None:
        checksum_file(target).unlink(missing_ok=True)
        publish(temporary, target)

    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(place.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # neither every system nor every file system has files without a name
        with replacing(place, finish) as temporary:
            temporary.write_bytes(content)
        return
    temporary = temporary_beside(place)
    with os.fdopen(handle, "wb") as file, named_when_full(place):
        file.write(content)
        file.flush()
        os.fsync(handle)
        checksum_file(place).unlink(missing_ok=True)
        try:
            # With a folder's number it follows the link, which is how a file gets its first name.
            os.link(f"/proc/self/fd/{handle}", temporary, src_dir_fd=handle)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        sync(place.parent)
