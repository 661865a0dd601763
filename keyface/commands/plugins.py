"""`keyface plugins`: which edit categories there are, where they come from, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path


def list_categories() -> None:
    """List the edit categories: name, what is written, what it changes, and the package it comes from."""
    from keyface.plugins import edits

    header = ("edit", "writes", "label after", "needs", "from")
    rows = [
        (
            category.name,
            category.targets[0],
            f"{category.attribute}={'yes' if category.present else 'no'}",
            ", ".join(category.needs) or "-",
            edits.origin(category.name),
        )
        for category in edits
    ]
    print(table([header, *rows]))


def show(name: str) -> None:
    """Show everything about one category, and what it makes of a caption.

    Args:
        name: The category.
    """
    from dataclasses import asdict

    from keyface.plugins import compose, edits

    category = edits[name]
    pairs = compose("", [category])
    rows = [(field, _text(value)) for field, value in asdict(category).items()]
    print(table([*rows, ("from", edits.origin(name)), ("example", f"{pairs.source} -> {pairs.target}")]))


def check(file: Path | None = None) -> None:
    """Load every plugin, or a YAML file as well, and report what is wrong.

    Args:
        file: YAML file of categories to check; it is not installed.
    """
    from keyface.plugins import EditError, edits
    from keyface.plugins.category import did_you_mean
    from keyface.plugins.registry import read_yaml

    known = {category.name: edits.origin(category.name) for category in edits}
    checked = list(edits)
    if file is not None:
        checked = read_yaml(file)
        for category in checked:
            if category.name in known:
                raise EditError(
                    f"{file}: {category.name!r} is already an edit from {known[category.name]}; rename it"
                )
            known[category.name] = str(file)
    for category in checked:
        for other in category.conflicts:
            if other not in known:
                raise EditError(
                    f"{known[category.name]}: {category.name!r} conflicts with {other!r}, which does not "
                    f"exist{did_you_mean(other, tuple(known))}; correct the name"
                )
    if file is None:
        print(f"{len(known)} edit categories from {', '.join(sorted(set(known.values())))} are fine")
    else:
        print(f"{file}: {', '.join(category.name for category in checked)} can be used")


def table(rows: list[tuple[str, ...]]) -> str:
    """Align columns.

    Example:
        >>> print(table([("edit", "from"), ("old", "keyface")]))
        edit  from
        old   keyface
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(str(item) for item in value) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
