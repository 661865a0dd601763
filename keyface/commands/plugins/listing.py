"""`keyface plugins`: which edit categories there are, where they come from, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyface.commands.console import columns, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyface.plugins import Category, Registry
    from keyface.plugins.examination import PackageState


def list_categories(json: bool = False) -> None:
    """List the edit categories: what each writes, changes and brings, and its package with version.

    Args:
        json: Print JSON, a list with everything about each category, and nothing else on stdout.
    """
    from keyface.plugins import edits
    from keyface.plugins.checks import CODE

    if json:
        print_json([facts(category, edits) for category in edits])
        return
    header = ("edit", "writes", "label after", "needs", "brings", "from")
    rows = [
        (
            category.name,
            category.targets[0],
            f"{category.attribute}={'yes' if category.present else 'no'}",
            ", ".join(category.needs) or "-",
            ", ".join(field for field in CODE if getattr(category, field) is not None) or "-",
            f"{edits.origin(category.name)} {edits.version(category.name)}".strip(),
        )
        for category in edits
    ]
    print(columns([header, *rows]))


def show(name: str, json: bool = False) -> None:
    """Show everything about one category, and what it makes of a caption.

    Args:
        name: The category.
        json: Print JSON, and nothing else on stdout.
    """
    from keyface.plugins import compose, edits

    category = edits[name]
    pairs = compose("", [category])
    found = facts(category, edits)
    if json:
        print_json({**found, "example": {"source": pairs.source, "target": pairs.target}})
        return
    rows = [(field, _text(value)) for field, value in found.items()]
    print(columns([*rows, ("example", f"{pairs.source} -> {pairs.target}")]))


def facts(category: Category, registry: Registry) -> dict[str, Any]:
    """Return the fields of a category as JSON takes them, and package and version that it comes from."""
    from dataclasses import fields

    from keyface.plugins.checks import CODE
    from keyface.plugins.extensions import place_of

    found = {field.name: getattr(category, field.name) for field in fields(category)}
    for name in CODE:
        found[name] = None if found[name] is None else place_of(found[name])
    return {**found, "from": registry.origin(category.name), "version": registry.version(category.name)}


def check(file: Path | None = None, json: bool = False) -> None:
    """Load every plugin and report everything that is wrong; with a YAML file, check that file instead.

    Args:
        file: YAML file of categories to check; it is not installed.
        json: Print JSON, and nothing else on stdout.

    Raises:
        ValueError: Something is wrong.
    """
    from keyface.plugins import edits
    from keyface.plugins.examination import conflict_faults, examine

    if file is None:
        report_packages(examine(edits), json)
        return
    registry = edits.with_yaml(file)
    names = [name for name in registry.names() if registry.origin(name) == str(file)]
    faults = conflict_faults(registry, names)
    if json:
        print_json({"file": str(file), "edits": names, "faults": faults})
    if faults:
        raise ValueError(f"{file}: {'; '.join(faults)}; correct the name")
    if not json:
        print(f"{file}: {', '.join(names)} can be used")


def report_packages(packages: Sequence[PackageState], json: bool) -> None:
    """Print the state of each package that brings plugins, with what mends it.

    Args:
        packages: All of them.
        json: Whether to print JSON.

    Raises:
        ValueError: A plugin is broken, or an edit conflicts with one that does not exist.
    """
    rows = []
    for each in packages:
        name, faulty = each.package, each.wrong or each.broken
        rows += [(name, each.version, "fine", f"edits: {len(each.edits)}")] if not faulty else []
        rows += [(name, each.version, "wrong", fault) for fault in each.wrong]
        rows += [(name, each.version, "broken", fault) for fault in each.broken]
    fixes = [f"{each.package}: {fix}" for each in packages for fix in each.fixes]
    header = ("package", "version", "state", "what")
    if json:
        print_json({"packages": [dict(zip(header, row, strict=True)) for row in rows], "fixes": fixes})
    else:
        print(columns([header, *rows]))
    if fixes:
        if not json:
            print("\nto mend\n  " + "\n  ".join(fixes))
        names = ", ".join(each.package for each in packages if each.fixes)
        raise ValueError(f"plugins of {names} are not in order; see above, the others can be used")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(str(item) for item in value) or "-"
    if isinstance(value, Mapping):
        parts = (
            f"{family}: {', '.join(f'{name} {amount:g}' for name, amount in amounts.items())}"
            for family, amounts in value.items()
        )
        return "; ".join(parts) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value or "-")
