"""What IP-FaceDiff published, to be shown beside our figures: other data, other judges, not comparable.

`published.json` holds the abstract's figure and Tables 1 to 3 of arXiv 2501.07530 as they were read in the
paper, with notes where a figure cannot be what the table calls it. `--reference FILE` adds figures of the
user's, a JSON list of objects with the fields of `Published`; `--reference none` leaves all of them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from keyface.configuration import parse
from keyface.untrusted import read_json

_MAX_BYTES = 2**20
_SHIPPED = Path(str(files("keyface.evaluation.report"))) / "published.json"

NONE = "none"
"""What `--reference` says for no published figures at all."""


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        method: Whose.
        measure: What was measured, in the publication's words.
        value: The figure, or a statement where there is none.
        where: The publication and the place in it.
        data: What it was measured on.
        note: What a reader must know of this figure; empty for nothing.
    """

    method: str
    measure: str
    value: float | str
    where: str
    data: str
    note: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "note" and isinstance(value, str) and not value.strip():
                raise ValueError(f"{name} is {value!r}; it must be text")


@dataclass(frozen=True)
class PublishedTable:
    """Figures of one place in one publication, of the same data.

    Attributes:
        where: The publication and the place in it.
        data: What they were measured on.
        measures: The columns.
        lines: Method → its figures by measure, as text; a figure with notes bears their marks.
        notes: The notes, the first of which is marked "*", the second "**" and so on.
    """

    where: str
    data: str
    measures: tuple[str, ...]
    lines: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def read_published(reference: str | None) -> list[dict[str, Any]]:
    """Return the published figures that ship with keyface, and those of a file of the user's.

    Args:
        reference: A JSON list of objects with the fields of `Published`; None adds nothing; "none" leaves out
            those that ship, too.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another form.
    """
    if reference == NONE:
        return []
    paths = [_SHIPPED, *([Path(reference)] if reference is not None else [])]
    return [asdict(figure) for path in paths for figure in _read(path)]


def by_table(figures: Sequence[Mapping[str, Any]]) -> list[PublishedTable]:
    """Return published figures as tables, one for each place and data, in the order in which they come."""
    places: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for figure in figures:
        places.setdefault((figure["where"], figure["data"]), []).append(figure)
    return [_table(where, data, found) for (where, data), found in places.items()]


def _table(where: str, data: str, figures: Sequence[Mapping[str, Any]]) -> PublishedTable:
    notes = tuple(dict.fromkeys(figure["note"] for figure in figures if figure["note"]))
    lines: dict[str, dict[str, str]] = {}
    for figure in figures:
        mark = "*" * (notes.index(figure["note"]) + 1) if figure["note"] else ""
        cells = lines.setdefault(figure["method"], {})
        before = f"{cells[figure['measure']]}; " if figure["measure"] in cells else ""
        cells[figure["measure"]] = f"{before}{figure['value']}{mark}"
    return PublishedTable(
        where, data, tuple(dict.fromkeys(figure["measure"] for figure in figures)), lines, notes
    )


def _read(path: Path) -> list[Published]:
    content = read_json(path, missing="no such file of published figures", limit=_MAX_BYTES)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise ValueError(f"{path}: a list of objects, one a figure, is needed")
    return [parse(Published, each, f"{path}: figure {number}") for number, each in enumerate(content, 1)]
