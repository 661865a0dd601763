"""A file or a folder with the strength that it acts with, as users write it: `PATH` or `PATH:STRENGTH`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STRONGEST = 10.0


@dataclass(frozen=True)
class Weighted:
    """Name something that is added to a model.

    Attributes:
        path: Its file or folder.
        strength: 1 as it was trained, 0 nothing.
    """

    path: Path
    strength: float = 1.0

    @classmethod
    def of(cls, given: "str | Path | Weighted", option: str) -> Self:
        """Read what a user gave.

        Args:
            given: `PATH` or `PATH:STRENGTH`.
            option: Where it was given, for messages.

        Raises:
            FileNotFoundError: There is no such file or folder.
            ValueError: The strength is out of range.
        """
        if isinstance(given, Weighted):
            path, strength = given.path, given.strength
        else:
            path, strength = _parts(str(given))
        if not path.exists():
            raise FileNotFoundError(f"{option} {path}: no such file or folder")
        if not (math.isfinite(strength) and abs(strength) <= _STRONGEST):
            raise ValueError(
                f"{option} {path}: strength {strength:g} is not from -{_STRONGEST:g} to {_STRONGEST:g}"
            )
        return cls(path, strength)


def _parts(given: str) -> tuple[Path, float]:
    """Split at the last colon if a number follows, unless a file has the whole as its name."""
    path, colon, strength = given.rpartition(":")
    if colon and not Path(given).exists():
        try:
            return Path(path), float(strength)
        except ValueError:
            pass
    return Path(given), 1.0
