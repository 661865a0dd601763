"""The progress bar of an evaluation."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def bar(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Draw a bar on stderr while items are gone through; nothing is drawn where that is no terminal.

    Args:
        items: Gone through once.
        what: What is done with them.
        total: How many there are, where they cannot say themselves.
    """
    count = len(items) if isinstance(items, Sequence) else total
    bars: Iterable[Item] = tqdm(
        items, desc=what, total=count, unit="clip", dynamic_ncols=True, disable=None, leave=False
    )
    return bars
