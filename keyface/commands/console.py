"""Figures for people and for programs: aligned tables and JSON files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from keyface.evaluation.report.tables import number
from keyface.files import write_text


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; of nothing, an error rather than a silent NaN."""
    if not values:
        raise ValueError("no values to average: nothing was measured")
    return sum(values) / len(values)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same keys as aligned text; floats as `number` writes them."""
    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    numeric = [isinstance(rows[0][column], int | float) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _text(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
