"""`keyface plugins`: which edit categories there are, where they come from, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyface.commands.console import columns, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyface.plugins import Category, Registry


def list_categories(json: bool = False) -> None:
    """List the edit categories: name, what is written, what it changes, and the package it comes from.

    Args:
        json: Print JSON, a list with everything about each category, and nothing else on stdout.
    """
    from keyface.plugins import edits

    if json:
        print_json([facts(category, edits.origin(category.name)) for category in edits])
        return
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
    found = facts(category, edits.origin(name))
    if json:
        print_json({**found, "example": {"source": pairs.source, "target": pairs.target}})
        return
    rows = [(field, _text(value)) for field, value in found.items()]
    print(columns([*rows, ("example", f"{pairs.source} -> {pairs.target}")]))


def facts(category: Category, origin: str) -> dict[str, Any]:
    """Return the fields of a category, and the package that it comes from."""
    from dataclasses import asdict

    return {**asdict(category), "from": origin}


def check(file: Path | None = None, json: bool = False) -> None:
    """Load every plugin and report what is wrong; with a YAML file, check that file instead.

    Args:
        file: YAML file of categories to check; it is not installed.
        json: Print JSON, and nothing else on stdout.

    Raises:
        ValueError: Something is wrong.
    """
    from keyface.plugins import edits

    if file is None:
        check_installed(edits, json)
        return
    registry = edits.with_yaml(file)
    names = [name for name in registry.names() if registry.origin(name) == str(file)]
    faults = unknown_conflicts(registry, names)
    if json:
        print_json({"file": str(file), "edits": names, "faults": faults})
    if faults:
        raise ValueError(f"{file}: {'; '.join(faults)}; correct the name")
    if not json:
        print(f"{file}: {', '.join(names)} can be used")


def check_installed(registry: Registry, json: bool) -> None:
    """Print the state of each package that brings plugins, with what mends it.

    Args:
        registry: All edits.
        json: Whether to print JSON.

    Raises:
        ValueError: A plugin is broken, or an edit conflicts with one that does not exist.
    """
    broken = registry.broken()
    edits_of: dict[str, list[str]] = {}
    for name in registry.names():
        edits_of.setdefault(registry.origin(name), []).append(name)
    conflicts = {package: unknown_conflicts(registry, names) for package, names in edits_of.items()}
    rows = [
        (package, "fine", f"edits: {len(names)}")
        for package, names in edits_of.items()
        if not conflicts[package]
    ]
    rows += [(package, "wrong", fault) for package, faults in conflicts.items() for fault in faults]
    rows += [(each.package, "broken", f"plugin {each.name!r} ({each.value}) {each.fault}") for each in broken]
    fixes = [f"{package}: correct the name" for package, faults in conflicts.items() if faults]
    fixes += [f"{each.package}: {each.fix}" for each in broken]
    fixes = list(dict.fromkeys(fixes))
    header = ("package", "state", "what")
    if json:
        print_json({"packages": [dict(zip(header, row, strict=True)) for row in rows], "fixes": fixes})
    else:
        print(columns([header, *rows]))
    if fixes:
        if not json:
            print("\nto mend\n  " + "\n  ".join(fixes))
        packages = dict.fromkeys(package for package, state, _ in rows if state != "fine")
        raise ValueError(
            f"plugins of {', '.join(packages)} are not in order; see above, the others can be used"
        )


def unknown_conflicts(registry: Registry, names: Iterable[str]) -> list[str]:
    """Return a line for each edit that the named ones conflict with and that does not exist."""
    from keyface.configuration import did_you_mean

    return [
        f"{name!r} conflicts with {other!r}, which does not exist{did_you_mean(other, registry.names())}"
        for name in names
        for other in registry[name].conflicts
        if other not in registry
    ]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(str(item) for item in value) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
