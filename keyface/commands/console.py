"""What commands show of their results: aligned tables and JSON files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from keyface.files import json_text, write_text
from keyface.progress import say


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json_text(content))


def print_json(content: object) -> None:
    """Print JSON on stdout, where nothing else may stand then."""
    print(json_text(content), end="")


def tell_rows(
    rows: Sequence[Mapping[str, object]],
    reading: str,
    output: Path | None,
    *,
    json: bool,
    shown: Sequence[Mapping[str, object]] | None = None,
) -> None:
    """Print what was measured, and write it to a file where one is given.

    Args:
        rows: The rows with the same keys.
        reading: How the table is read; empty for none.
        output: Also write the rows to this file, as JSON.
        json: Print the rows as JSON, and nothing else on stdout.
        shown: What the table shows, where that is less than the rows.
    """
    if json:
        print_json(rows)
    else:
        print(f"\n{table(rows if shown is None else shown)}" + (f"\n\n{reading}" if reading else ""))
    if output is not None:
        write_json(output, rows)
        say(f"written: {output}")


def without_none(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows less what was not measured."""
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


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
