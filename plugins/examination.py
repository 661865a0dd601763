"""What is wrong with the installed plugins, package by package; no fault hides another."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyface.configuration import did_you_mean
from keyface.plugins.registry import Registry


@dataclass(frozen=True)
class PackageState:
    """One package that brings plugins.

    Attributes:
        package: Its name.
        version: Its version; empty if it is not known.
        edits: Names of the edits of it that can be used.
        wrong: Faults of edits that can be used all the same.
        broken: Faults for which plugins of it are skipped, each with the plugin's name.
    """

    package: str
    version: str
    edits: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def fixes(self) -> tuple[str, ...]:
        """What mends it, for its users."""
        if self.broken:
            return (f"pip install --upgrade {self.package}, or pip uninstall {self.package}",)
        return ("correct the names of the conflicts",) if self.wrong else ()


def examine(registry: Registry) -> list[PackageState]:
    """Return the state of every package that brings plugins, keyface's first."""
    broken: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for plugin in registry.broken():
        lines = broken.setdefault(plugin.package, [])
        lines += [f"plugin {plugin.name!r} ({plugin.value}) {fault}" for fault in plugin.faults]
        versions[plugin.package] = plugin.version
    names: dict[str, list[str]] = {}
    for name in registry.names():
        names.setdefault(registry.origin(name), []).append(name)
        versions.setdefault(registry.origin(name), registry.version(name))
    packages = sorted(versions, key=lambda package: (package != "keyface", package in broken, package))
    return [
        PackageState(
            package,
            versions[package],
            tuple(names.get(package, ())),
            tuple(conflict_faults(registry, names.get(package, ()))),
            tuple(broken.get(package, ())),
        )
        for package in packages
    ]


def conflict_faults(registry: Registry, names: Sequence[str]) -> list[str]:
    """Return what is wrong with the conflicts of edits that come from one place.

    Edits that conflict must exist, and say so of each other where both come from that place. An edit of
    another package cannot know of this one, and need not: one side is enough for the registry.
    """
    found = []
    for name in names:
        for other in registry[name].conflicts:
            if other not in registry:
                nearest = did_you_mean(other, registry.names())
                found.append(f"{name!r} conflicts with {other!r}, which does not exist{nearest}")
            elif other in names and name not in registry[other].conflicts:
                found.append(f"{name!r} conflicts with {other!r}, which does not say so of {name!r}")
    return found
