"""What IP-FaceDiff published, to be shown beside our figures: other data, other judges, not comparable.

Only what could be read in the paper itself is here. The copies that were at hand when this was written hold
its abstract but not its tables, so Tables 1 to 3 are left out rather than guessed. Whoever has the paper can
add them with `--reference FILE`, a JSON list of objects with the fields of `Published`.
"""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from keyface.evaluation.files import read_json

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        method: Whose.
        measure: What was measured, in the publication's words.
        value: The figure, or a statement where there is none.
        where: The publication and the place in it.
        data: What it was measured on.
    """

    method: str
    measure: str
    value: float | str
    where: str
    data: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "value" and isinstance(value, int | float) and not isinstance(value, bool):
                if not math.isfinite(value):
                    raise ValueError(f"value is {value!r}; it must be finite")
            elif not isinstance(value, str) or not value.strip():
                raise ValueError(f"{field.name} is {value!r:.80}; it must be text")


PUBLISHED: tuple[Published, ...] = (
    Published(
        "IP-FaceDiff",
        "editing time, against earlier methods",
        "80 % less",
        "arXiv 2501.07530v1, abstract",
        "the paper's, not this clip set",
    ),
)
"""Figures of the paper that were read in it."""


def references(path: Path | None) -> list[dict[str, Any]]:
    """The published figures, and those of a file of the user's.

    Args:
        path: A JSON list of objects with the fields of `Published`; None adds nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another form.
    """
    return [asdict(each) for each in (*PUBLISHED, *(_read(path) if path is not None else ()))]


def _read(path: Path) -> list[Published]:
    content = read_json(path, "list of figures", "no such file of published figures", _MAX_BYTES)
    names = {field.name for field in fields(Published)}
    if not isinstance(content, list) or not all(
        isinstance(each, dict) and each.keys() == names for each in content
    ):
        raise ValueError(f"{path}: a list of objects with {', '.join(sorted(names))} is needed")
    try:
        return [Published(**each) for each in content]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
