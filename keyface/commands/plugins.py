"""`keyface plugins`: which edit categories there are, where they come from, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keyface.commands.console import columns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyface.plugins import Registry


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
    print(columns([header, *rows]))


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
    print(columns([*rows, ("from", edits.origin(name)), ("example", f"{pairs.source} -> {pairs.target}")]))


def check(file: Path | None = None) -> None:
    """Load every plugin and report what is wrong; with a YAML file, check that file instead.

    Args:
        file: YAML file of categories to check; it is not installed.

    Raises:
        ValueError: Something is wrong.
    """
    from keyface.plugins import edits

    if file is None:
        check_installed(edits)
        return
    registry = edits.with_yaml(file)
    names = [name for name in registry.names() if registry.origin(name) == str(file)]
    if faults := unknown_conflicts(registry, names):
        raise ValueError(f"{file}: {'; '.join(faults)}; correct the name")
    print(f"{file}: {', '.join(names)} can be used")


def check_installed(registry: Registry) -> None:
    """Print the state of each package that brings plugins, with what mends it.

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
    print(columns([("package", "state", "what"), *rows]))
    fixes = [f"{package}: correct the name" for package, faults in conflicts.items() if faults]
    fixes += [f"{each.package}: {each.fix}" for each in broken]
    if fixes:
        print("\nto mend\n  " + "\n  ".join(dict.fromkeys(fixes)))
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
