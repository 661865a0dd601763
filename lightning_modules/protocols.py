"""What is asked of training modules and data that can tell more than Lightning asks."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class ChecksCheckpoint(Protocol):
    """A module that can tell, before training begins, whether it can go on from a checkpoint."""

    def check_checkpoint(self, checkpoint: Path, sharded: bool) -> None:
        """Raise a ValueError if it cannot; `sharded` says whether processes will share the weights."""
        ...


@runtime_checkable
class KnowsItsLabels(Protocol):
    """A datamodule that can tell which labels its pictures have."""

    def labels(self) -> Collection[str]:
        """Return every label that a picture has."""
        ...


@runtime_checkable
class KnowsItsData(Protocol):
    """A datamodule that can tell its pictures from others."""

    def fingerprint(self) -> str:
        """Return a short text that is the same for the same pictures, wherever they lie."""
        ...
