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

    edits.load()
    if file is None:
        packages = sorted({edits.origin(name) for name in edits.names()})
        print(f"{len(edits)} edit categories from {', '.join(packages)} are fine")
        unknown = [
            f"{category.name!r} ({other!r})"
            for category in edits
            for other in category.conflicts
            if other not in edits
        ]
        if unknown:
            raise EditError(
                f"conflicts with edits that do not exist: {', '.join(unknown)}; correct the names"
            )
        return
    added = edits.from_yaml(file)
    print(f"{file}: {', '.join(category.name for category in added)} can be used")


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
