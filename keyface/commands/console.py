"""What commands show of their results: aligned tables and JSON files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from keyface.files import json_text, write_text


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json_text(content))


def print_json(content: object) -> None:
    """Print JSON on stdout, where nothing else may stand then."""
    print(json_text(content), end="")


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean; of nothing, an error rather than a silent NaN."""
    if not values:
        raise ValueError("no values to average: nothing was measured")
    return sum(values) / len(values)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as aligned text; floats as `number` writes them."""
    names = list(rows[0])
    cells = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    numeric = [isinstance(rows[0][name], int | float) for name in names]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of words as aligned text.

    Example:
        >>> print(columns([("edit", "from"), ("old", "keyface")]))
        edit  from
        old   keyface
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _text(value: object) -> str:
    if value is not None and not isinstance(value, float):
        return str(value)
    from keyface.evaluation.report.tables import number

    return number(value)
