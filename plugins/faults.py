"""What is wrong with an edit category: raised where one is made, collected where plugins are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class EditError(ValueError):
    """An edit category that cannot be used, said in one line."""


_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collected_faults() -> Iterator[list[str]]:
    """Collect what is wrong with categories that are made inside the block, instead of raising it.

    A module that makes several categories is read to its end, so that the faults of all are found.
    """
    found: list[str] = []
    token = _COLLECTED.set(found)
    try:
        yield found
    finally:
        _COLLECTED.reset(token)


def report(name: object, faults: list[str]) -> None:
    """Raise the faults of a category, or hand them to whoever collects them.

    Raises:
        EditError: There are faults, and nobody collects them.
    """
    lines = [f"edit category {name!r}: {fault}" for fault in faults]
    collected = _COLLECTED.get()
    if collected is not None:
        collected += lines
    elif lines:
        more = f" (and {len(lines) - 1} more: {'; '.join(faults[1:])})" if len(lines) > 1 else ""
        raise EditError(lines[0] + more)
