"""A file that says what of an edit is done, so that a killed edit goes on where it was."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keyface.files import write_text
from keyface.untrusted import UntrustedError, read_json_object

PREPARED = "prepared"
"""Entry for what is soon done again: with it alone nothing has begun that would be lost."""

_DAMAGED = "damaged, so this edit cannot go on; begin anew with --restart"

Value = int | float | bool | Sequence[int | float | bool]


def read_json(path: Path) -> dict[str, Any]:
    """Return what an edit noted in a file of its folder.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        return read_json_object(path, allow_nan=True)  # a faultless reconstruction has infinite PSNR
    except UntrustedError as error:
        raise ValueError(f"{path}: {_DAMAGED}") from error


class Journal:
    """Names and values that survive the process.

    Data are flushed before the entry that marks them done. Work that is not marked yet never writes into data
    that an entry relies on: latents at one level are read, those at the next are written elsewhere.

    Args:
        path: The file; None forgets at the end of the process.
        before: Called before each entry is written, to bring what it speaks of to the disk.
    """

    def __init__(self, path: Path | None = None, before: Callable[[], None] = lambda: None) -> None:
        self._path, self._before = path, before
        known = path is not None and path.is_file()
        self._entries: dict[str, Value] = read_json(path) if path is not None and known else {}

    @property
    def begun(self) -> bool:
        """Whether there is any entry but `PREPARED`."""
        return bool(self._entries.keys() - {PREPARED})

    def entries(self, names: Sequence[str]) -> dict[str, Value]:
        """Return those of the named entries that are there."""
        return {name: self._entries[name] for name in names if name in self._entries}

    def count(self, name: str) -> int:
        """Return how many units of `name` are done.

        Raises:
            ValueError: The file says something else than a number of units.
        """
        value = self._entries.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{self._path}: {_DAMAGED}")
        return value

    def numbers(self, name: str) -> list[float] | None:
        """Return the numbers under a name, if they were written.

        Raises:
            ValueError: The file says something else than a list of numbers.
        """
        value = self._entries.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(each, int | float) for each in value):
            raise ValueError(f"{self._path}: {_DAMAGED}")
        return [float(each) for each in value]

    def write(self, **entries: Value) -> None:
        """Write entries, all or none of them."""
        self._entries |= entries
        if self._path is None:
            return
        self._before()
        try:
            write_text(self._path, json.dumps(self._entries))
        except FileNotFoundError:  # the folder went meanwhile, which `before` has words for
            self._before()
            raise
