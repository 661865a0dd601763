"""What has happened to a clip so far, as the names of the files in the batch's folder say it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["waiting", "running", "done", "aside", "cancelled"]

MOST_FAILURES = 2
"""Tries of a clip that may end with an error; then it is set aside."""

MOST_DEATHS = 5
"""Processes that may end without a word at the same place of a clip. More than `MOST_FAILURES`: it may have
been the machine that ended them."""

ENDS = ("failed", "released", "cancelled")
"""How a claim ends, beside `done`, which ends the clip."""

_KINDS = frozenset(("claim", "died", "stop", "retry", *ENDS))


@dataclass
class History:
    """The claims of one clip, numbered from 1, and what is known of each.

    A file is `<clip>.<number>.<kind>`. Claims are made in their order, each by one process, since its file
    can be made only once; who makes the next one has taken the clip over. So no file is ever renamed or
    removed while others may look at it, and no two processes can believe that they hold the same number.

    Attributes:
        done: Whether the clip is edited.
        numbers: By kind, the claims that have such a file: `claim` itself; how it ended (`ENDS`); `died`: its
            process ended without a word and without having got any further; `stop`: it is asked to stop;
            `retry`: what happened up to here is forgiven.
    """

    done: bool = False
    numbers: dict[str, set[int]] = field(default_factory=dict)

    def note(self, kind: str, number: int) -> None:
        """Add what a file's name says."""
        self.numbers.setdefault(kind, set()).add(number)

    def has(self, kind: str, number: int) -> bool:
        """Tell whether a claim has a file of this kind."""
        return number in self.numbers.get(kind, ())

    @property
    def top(self) -> int:
        """Return the latest claim's number; 0 where there is none."""
        return max(self.numbers.get("claim", ()), default=0)

    @property
    def failures(self) -> int:
        """Return how many tries ended with an error since all was forgiven."""
        return self._since_retry("failed")

    @property
    def deaths(self) -> int:
        """Return how many processes ended without a word and without progress, likewise."""
        return self._since_retry("died")

    @property
    def state(self) -> State:
        """Return the clip's state; whether a running one's process is alive is another question."""
        if self.done:
            return "done"
        if not self.numbers:
            return "waiting"
        top = self.top
        if self.has("retry", top):
            return "waiting"
        if self.has("cancelled", top):
            return "cancelled"
        if top and not any(self.has(end, top) for end in ENDS):
            return "running"
        aside = self.failures >= MOST_FAILURES or self.deaths >= MOST_DEATHS
        return "aside" if aside else "waiting"

    def _since_retry(self, kind: str) -> int:
        forgiven = max(self.numbers.get("retry", ()), default=0)
        return sum(number > forgiven for number in self.numbers.get(kind, ()))


def histories(folder: Path, keys: Iterable[str]) -> Mapping[str, History]:
    """Return what the names in a folder say of clips, by their keys; files of other clips are passed over."""
    found: dict[str, History] = {}
    for key, number, kind in _parsed(folder):
        history = found.get(key)
        if history is None:
            history = found[key] = History()
        if kind == "done":
            history.done = True
        else:
            history.note(kind, number)
    untouched = History()
    return {key: found.get(key, untouched) for key in keys}


def _parsed(folder: Path) -> Iterator[tuple[str, int, str]]:
    for name in os.listdir(folder):
        parts = name.split(".")
        if len(parts) == 3 and parts[1].isdecimal() and parts[2] in _KINDS:
            yield parts[0], int(parts[1]), parts[2]
        elif len(parts) == 2 and parts[1] == "done":
            yield parts[0], 0, "done"
