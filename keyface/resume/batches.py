"""Work in batches that become smaller when the device's memory does not hold them."""

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from keyface.resume.journal import Journal

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

Advance = Callable[[int], None]
"""Told how many units of a stage have just been done."""


class Batches:
    """A batch size that remembers having been too large.

    Args:
        size: Frames a batch to begin with.
        journal: Knows what an earlier process did, and in which batches.
        after: Called after each batch.
        even: Whether all batches are as long as the size: a shorter one repeats its last frame. A compiled
            network has a graph for each length.
    """

    def __init__(
        self,
        size: int,
        journal: Journal | None = None,
        after: Callable[[], None] = lambda: None,
        *,
        even: bool = False,
    ) -> None:
        self.journal = Journal() if journal is None else journal
        self.size = self.journal.count("batch") or size
        self._after = after
        self._even = even

    def each(
        self,
        frames: Sequence[int],
        work: Callable[[Sequence[int]], None],
        advance: Advance = lambda _: None,
        name: str | None = None,
    ) -> None:
        """Call `work` on consecutive parts of `frames`; a part that ran out of memory is done in halves.

        Where batches are even, `work` gets the last frame of a short part several times, and does the same
        with it each time.

        Args:
            frames: To be worked on.
            work: Must be right again when it is repeated on the same frames.
            advance: Told the length of each part.
            name: Of the journal's entry; what it says is done is left out.
        """
        start = self.journal.count(name) if name is not None else 0
        advance(start)
        for part, _ in self.results(frames[start:], lambda part: work(self._filled(part))):
            start += len(part)
            if name is not None:
                self.journal.write(**{name: start, "batch": self.size})
            advance(len(part))

    def _filled(self, part: Sequence[int]) -> Sequence[int]:
        """Repeat the last frame until the batch is full, where batches are even."""
        missing = self.size - len(part) if self._even else 0
        return [*part, *[part[-1]] * missing] if missing > 0 else part

    def results(
        self, frames: Sequence[int], work: Callable[[Sequence[int]], Result]
    ) -> Iterator[tuple[Sequence[int], Result]]:
        """Yield consecutive parts of `frames`, each with what `work` returned for it.

        Args:
            frames: To be worked on.
            work: As of `each`.
        """
        start = 0
        while start < len(frames):
            part = frames[start : start + self.size]
            try:
                result = work(part)
            except (RuntimeError, MemoryError) as error:
                if self.size == 1 or not ran_out_of_memory(error):
                    raise
                self.size = max(1, len(part) // 2)
            else:
                start += len(part)
                self._after()
                yield part, result
                continue
            free_memory()  # outside `except`, where the failed call's tensors are still referenced
            _log.warning("out of memory: going on with batches of %d frames", self.size)


def ran_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Say whether it was memory that failed: the device's, or the machine's, for which torch has no class."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "DefaultCPUAllocator: " in str(error)


def free_memory() -> None:
    """Give what PyTorch and the C library keep for later back to the device and to the system.

    A stage of an edit begins with this: what the one before left between its tensors would count on top of
    what this one needs, which with the length of a clip would be ever more.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # glibc's; musl has none
            library.malloc_trim(0)
