"""What is asked of training modules and data that can tell more than Lightning asks."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from keyface.lightning_modules.tuning.memory import StepMemory


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
class HoldsOut(Protocol):
    """A datamodule with pictures that are validated with."""

    def held_out(self) -> Iterator[dict[str, Any]]:
        """Yield them one by one, as batches of one."""
        ...


@runtime_checkable
class ForecastsMemory(Protocol):
    """A module that knows from shapes what a training step takes."""

    def step_memory(
        self, images: int, side: int, context: Callable[[], AbstractContextManager[Any]]
    ) -> StepMemory:
        """Return it for a batch of images of this side; `context` gives what the step runs in."""
        ...


@runtime_checkable
class KnowsItsBatches(Protocol):
    """A datamodule whose batches are of one shape."""

    def batch_shape(self) -> tuple[int, int]:
        """Return the images of a batch on a device, and their side in pixels."""
        ...


@runtime_checkable
class KnowsItsData(Protocol):
    """A datamodule that can tell its pictures from others."""

    def fingerprint(self) -> str:
        """Return a short text that is the same for the same pictures, wherever they lie."""
        ...
