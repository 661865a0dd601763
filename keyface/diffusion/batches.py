"""Work in batches that become smaller when the device's memory does not hold them."""

from collections.abc import Callable, Sequence

import torch


class Batches:
    """A batch size that remembers having been too large.

    Args:
        size: frames a batch to begin with.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def each(self, frames: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Call `work` on consecutive parts of `frames`; a part that ran out of memory is done in halves."""
        start = 0
        while start < len(frames):
            part = frames[start : start + self.size]
            try:
                work(part)
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self.size = max(1, len(part) // 2)
            else:
                start += len(part)
                continue
            torch.cuda.empty_cache()  # outside `except`, where the failed call's tensors are still referenced
