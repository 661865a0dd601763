"""One thing that `keyface doctor` looked at."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "broken", "missing", "optional", "note"]
"""`broken`: part of the installation does not work; `missing`: the goal needs it; `optional`: something
is better with it; `note`: good to know."""


EVERY = ("try", "edit", "train", "evaluate")
"""Names of the goals, see `keyface.doctor.goals`."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: Whether it is there, and how bad it is if it is not.
        what: Its name, with its state if that needs a word.
        disables: What cannot be done without it; empty where it is there.
        fix: The command, or the words, that bring it; empty where it is there.
        goals: Names of the goals that it belongs to.
    """

    level: Level
    what: str
    disables: str = ""
    fix: str = ""
    goals: tuple[str, ...] = EVERY
