"""What IP-FaceDiff published, to be shown beside our figures: other data, other judges, not comparable.

Only what could be read in the paper itself is here. The copies that were at hand when this was written hold
its abstract but not its tables, so Tables 1 to 3 are left out rather than guessed. Whoever has the paper can
add them with `--reference FILE`, a JSON list of objects with the fields of `Published`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keyface.configuration import parse
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
        for name, value in asdict(self).items():
            if isinstance(value, str) and not value.strip():
                raise ValueError(f"{name} is {value!r}; it must be text")


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


def read_published(path: Path | None) -> list[dict[str, Any]]:
    """Return the published figures, and those of a file of the user's.

    Args:
        path: A JSON list of objects with the fields of `Published`; None adds nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another form.
    """
    return [asdict(each) for each in (*PUBLISHED, *(_read(path) if path is not None else ()))]


def _read(path: Path) -> list[Published]:
    content = read_json(path, "list of figures", "no such file of published figures", _MAX_BYTES)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise ValueError(f"{path}: a list of objects, one a figure, is needed")
    return [parse(Published, each, f"{path}: figure {number}") for number, each in enumerate(content, 1)]
