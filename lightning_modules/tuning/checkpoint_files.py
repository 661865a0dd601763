"""How checkpoints come to the disk: whole, with their SHA-256 beside them."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from keyface.weights.checksum import checksum_file, require_checksum, write_checksum


class CheckedCheckpointIO(TorchCheckpointIO):
    """Lightning's own files, each with a checksum that is compared before it is read.

    A run killed between a checkpoint and its checksum leaves the checkpoint without one, which is then taken
    unchecked: the checksum before it goes first.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint, then its checksum."""
        if "://" in str(path):  # somewhere else than on a disk
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        checksum_file(Path(path)).unlink(missing_ok=True)
        super().save_checkpoint(checkpoint, path, storage_options)
        write_checksum(Path(path))

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
