"""What the command line asks of a training module that can tell more than Lightning asks."""

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class ChecksCheckpoint(Protocol):
    """A module that can tell, before training begins, whether it can go on from a checkpoint."""

    def check_checkpoint(self, checkpoint: Path, sharded: bool) -> None:
        """Raise a ValueError if it cannot; `sharded` says whether processes will share the weights."""
        ...
