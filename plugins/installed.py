"""Reading of the plugins that installed packages bring; what is wrong with one is described, not raised."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

from keyface.plugins.category import Category
from keyface.plugins.faults import collected_faults


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed package; `str` of a broken one is a line with reason and fix.

    Attributes:
        package: The distribution that brings it.
        name: The entry point's name.
        value: What the entry point refers to, "module:object".
        categories: What it offers, as far as it could be read.
        version: The distribution's; empty if it is not known.
        faults: All that is wrong with it, as in "it fails on import"; none if it can be used.
        cause: What it raised, if it did.
    """

    package: str
    name: str
    value: str
    categories: tuple[Category, ...] = ()
    version: str = ""
    faults: tuple[str, ...] = ()
    cause: BaseException | None = None

    @property
    def fix(self) -> str:
        """What mends it, as commands."""
        return f"pip install --upgrade {self.package}, or pip uninstall {self.package}"

    def offers(self, name: str) -> bool:
        """Say whether an edit's name is that of this plugin or of one of its categories."""
        return name == self.name or name in (category.name for category in self.categories)

    def __str__(self) -> str:
        where = f"plugin {self.name!r} ({self.value}) of package {self.package!r}"
        if not self.faults:
            return where
        more = f" (and {len(self.faults) - 1} more: `keyface plugins check`)" if len(self.faults) > 1 else ""
        return f"{where} is skipped: it {self.faults[0]}{more}; to mend it: {self.fix}"


def read_plugins(group: str) -> list[Plugin]:
    """Import every plugin of an entry point group, keyface's own first, then by package.

    What a plugin prints while it is imported goes to stderr, since stdout holds a command's result.
    """
    points = sorted(entry_points(group=group), key=_builtin_first)
    with redirect_stdout(sys.stderr):
        return [_read(point) for point in points]


def _builtin_first(point: EntryPoint) -> tuple[bool, str, str]:
    # A third party that takes a built-in name must be the one that is refused.
    package = _package_of(point)
    return package != "keyface", package, point.name


def _package_of(point: EntryPoint) -> str:
    # The name is None where METADATA is gone, as after an uninstallation that was stopped.
    return (point.dist.name if point.dist is not None else None) or "unknown"


def _version_of(point: EntryPoint) -> str:
    return (point.dist.version if point.dist is not None else None) or ""


def _read(point: EntryPoint) -> Plugin:
    """Import one plugin; its categories are made to the end, so that the faults of all are known."""
    plugin = Plugin(_package_of(point), point.name, point.value, version=_version_of(point))
    with collected_faults() as wrong:
        try:
            content = point.load()
            items = [content] if isinstance(content, Category) else content
            if not isinstance(items, Iterable) or isinstance(items, str | bytes):
                kind = type(content).__name__
                return _faulty(plugin, wrong, f"is a {kind}, not a Category or a list of them")
            found = tuple(items)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a third party's module may raise anything at all, SystemExit too
            reason = " ".join(str(error).split()) or "no message"
            said = f"fails on import with {type(error).__name__}: {reason}"
            return replace(_faulty(plugin, wrong, said), cause=error)
    foreign = [
        f"holds a {type(item).__name__} among its categories"
        for item in found
        if not isinstance(item, Category)
    ]
    if wrong or foreign:
        return _faulty(plugin, wrong, *foreign)
    return replace(plugin, categories=found)


def _faulty(plugin: Plugin, wrong: Sequence[str], *faults: str) -> Plugin:
    """Return a plugin with all its faults: categories that are wrong, and others."""
    return replace(plugin, faults=(*(f"offers a wrong category: {each}" for each in wrong), *faults))
