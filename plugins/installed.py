"""Reading of the plugins that installed packages bring; what is wrong with one is described, not raised."""

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

from keyface.plugins.category import Category


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed package; `str` of a broken one is a line with reason and fix.

    Attributes:
        package: The distribution that brings it.
        name: The entry point's name.
        value: What the entry point refers to, "module:object".
        categories: What it offers, as far as it could be read.
        fault: What is wrong with it, as in "it fails on import"; empty if it can be used.
        cause: What it raised, if it did.
    """

    package: str
    name: str
    value: str
    categories: tuple[Category, ...] = ()
    fault: str = ""
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
        return f"{where} is skipped: it {self.fault}; to mend it: {self.fix}" if self.fault else where


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


def _read(point: EntryPoint) -> Plugin:
    plugin = Plugin(_package_of(point), point.name, point.value)
    try:
        content = point.load()
        items = [content] if isinstance(content, Category) else content
        if not isinstance(items, Iterable) or isinstance(items, str | bytes):
            return replace(plugin, fault=f"is a {type(content).__name__}, not a Category or a list of them")
        categories = tuple(items)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a third party's module may raise anything at all, SystemExit too
        reason = " ".join(str(error).split()) or "no message"
        fault = f"fails on import with {type(error).__name__}: {reason}"
        return replace(plugin, fault=fault, cause=error)
    for item in categories:
        if not isinstance(item, Category):
            return replace(plugin, fault=f"holds a {type(item).__name__} among its categories")
    return replace(plugin, categories=categories)
