"""How checkpoints come to the disk: whole, with their SHA-256 beside them."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from keyface.files import publish, remove_leftovers, replacing
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

        def finish(temporary: Path, target: Path) -> None:
            checksum_file(target).unlink(missing_ok=True)
            publish(temporary, target)

        content = io.BytesIO()  # torch's own writer tells of a full disk as a fault of its code
        torch.save(checkpoint, content)
        with replacing(place, finish) as temporary:
            temporary.write_bytes(content.getbuffer())
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
