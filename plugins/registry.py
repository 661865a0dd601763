"""The registry of edit categories: built-in, from installed packages, from YAML and from code."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from threading import RLock

from keyface.configuration import did_you_mean, parse
from keyface.plugins.category import Category
from keyface.plugins.checks import CODE
from keyface.plugins.compose import refuse_conflicts
from keyface.plugins.faults import EditError, collected_faults
from keyface.plugins.installed import Plugin, read_plugins
from keyface.untrusted import read_yaml as read_mapping

GROUP = "keyface.edits"
"""The entry point group; each entry point names a `Category` or an iterable of them."""


class PluginError(EditError):
    """An edit of a broken plugin was asked for; the message names the plugin, its package and the fix."""


class Registry:
    """Edit categories by name. Installed plugins are imported when the first name is asked for.

    A broken plugin disables only itself: the first lookup warns of it, in one line, and an error is only
    what asks for one of its edits.

    Args:
        group: The entry point group that is searched; `None` starts, and stays, without plugins.
    """

    def __init__(self, group: str | None = GROUP) -> None:
        self._group = group
        self._loaded = group is None
        self._loading = False
        self._lock = RLock()
        self._categories: dict[str, Category] = {}
        self._origins: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._broken: tuple[Plugin, ...] = ()
        self._unsaid: tuple[Plugin, ...] = ()

    def load(self) -> None:
        """Import every plugin of the group, once, and warn of each that is broken, once."""
        self._read()
        unsaid, self._unsaid = self._unsaid, ()
        for plugin in unsaid:
            warnings.warn(str(plugin), stacklevel=2)

    def broken(self) -> tuple[Plugin, ...]:
        """Return the plugins that are skipped; lookups do not warn of them any more."""
        self._read()
        self._unsaid = ()
        return self._broken

    def add(self, category: Category, *, origin: str = "code") -> Category:
        """Add one category and return it.

        Raises:
            EditError: Its name is in use.
        """
        if not isinstance(category, Category):
            raise EditError(f"edits.add takes a Category, not {type(category).__name__}")
        self.load()
        self._insert([category], origin)
        return category

    def with_yaml(self, path: str | Path) -> "Registry":
        """Return a new registry that also has the categories of a YAML file; this one stays as it is.

        The file maps each name to the fields of `Category`; lists stand for tuples::

            dimples:
              targets: [dimples, dimpled cheeks]
              source: smooth cheeks
              attribute: Rosy_Cheeks
              regions: [skin, nose]

        Raises:
            EditError: The file cannot be read, a field is unknown or wrong, or a name is in use.
        """
        categories = read_yaml(path)
        self.load()
        extended = Registry(group=None)
        extended._categories, extended._origins = dict(self._categories), dict(self._origins)
        extended._versions, extended._broken = self._versions, self._broken
        extended._insert(categories, str(path))
        return extended

    @contextmanager
    def with_file(self, path: str | Path | None) -> Iterator[None]:
        """Have the categories of a YAML file inside the block, for what asks this registry by name.

        Args:
            path: As of `with_yaml`; None changes nothing.

        Raises:
            EditError: As `with_yaml` does.
        """
        self.load()
        before = self._categories, self._origins
        if path is not None:
            extended = self.with_yaml(path)
            self._categories, self._origins = extended._categories, extended._origins
        try:
            yield
        finally:
            self._categories, self._origins = before

    def select(self, names: Sequence[str]) -> list[Category]:
        """Return the named categories in the order given.

        Raises:
            EditError: A name is unknown (similar ones are suggested), comes twice, or two conflict.
        """
        chosen = [self[name] for name in names]
        refuse_conflicts(chosen)
        return chosen

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        self.load()
        return tuple(sorted(self._categories))

    def origin(self, name: str) -> str:
        """Return where a category comes from: a package, a YAML file or `code`."""
        self[name]
        return self._origins[name]

    def version(self, name: str) -> str:
        """Return the version of the package that a category comes from; empty for YAML and code."""
        return self._versions.get(self.origin(name), "")

    def __getitem__(self, name: str) -> Category:
        self._read()
        if name not in self._categories:
            for plugin in self._broken:  # before the warnings, which would say the same
                if plugin.offers(name):
                    raise PluginError(f"edit {name!r} cannot be used: {plugin}") from plugin.cause
        self.load()
        if name not in self._categories:
            packages = ", ".join(dict.fromkeys(plugin.package for plugin in self._broken))
            raise EditError(
                f"unknown edit {name!r}{did_you_mean(name, self.names())}; `keyface plugins list` shows all"
                + (f", but for those of broken plugins ({packages})" if packages else "")
            )
        return self._categories[name]

    def __contains__(self, name: object) -> bool:
        self.load()
        return name in self._categories

    def __iter__(self) -> Iterator[Category]:
        return iter([self._categories[name] for name in self.names()])

    def __len__(self) -> int:
        return len(self.names())

    def _read(self) -> None:
        if self._loaded:
            return
        with self._lock:  # other threads wait until all plugins are there
            if self._loading:
                raise EditError(
                    "keyface's edits are asked for before every plugin is imported; "
                    "a plugin adds its categories by its entry point alone"
                )
            if self._loaded or self._group is None:
                return
            self._loading = True
            try:
                self._merge(read_plugins(self._group))
            finally:
                self._loading = False

    def _merge(self, plugins: Sequence[Plugin]) -> None:
        merged, broken = Registry(group=None), []
        for plugin in plugins:
            faults = plugin.faults or merged._clashes(plugin.categories)
            if faults:
                broken.append(replace(plugin, faults=faults))
            else:
                merged._insert(plugin.categories, plugin.package)
                merged._versions[plugin.package] = plugin.version
        self._categories, self._origins = merged._categories, merged._origins
        self._versions = merged._versions
        self._broken = self._unsaid = tuple(broken)
        self._loaded = True

    def _clashes(self, categories: Sequence[Category]) -> tuple[str, ...]:
        """Return what is wrong with the names of categories that come from one place."""
        counts = Counter(category.name for category in categories)
        twice = [
            f"offers two edits named {name!r}; rename one of them"
            for name, count in counts.items()
            if count > 1
        ]
        taken = [
            f"offers {name!r}, which is the name of an edit from {self._origins[name]}; rename it"
            for name in counts
            if name in self._categories
        ]
        return (*twice, *taken)

    def _insert(self, categories: Sequence[Category], origin: str) -> None:
        """Insert all categories or none of them."""
        if clashes := self._clashes(categories):
            raise EditError("; ".join(f"{origin} {each}" for each in clashes))
        for category in categories:
            self._categories[category.name] = category
            self._origins[category.name] = origin


def read_yaml(path: str | Path) -> list[Category]:
    """Read categories from a YAML file without a registry; see `Registry.with_yaml`."""
    try:
        content = read_mapping(path)
        if not content:
            raise EditError(f"{path}: no category in it, such as 'dimples: {{targets: [...]}}'")
        with collected_faults() as wrong:
            found = [_category_of(path, str(name), values) for name, values in content.items()]
        if wrong:
            raise EditError("; ".join(f"{path}: {each}" for each in wrong))
        return found
    except EditError:
        raise
    except (ValueError, OSError) as error:
        raise EditError(str(error)) from error


def _category_of(path: str | Path, name: str, values: object) -> Category:
    where = f"{path}: {name!r}"
    known = ", ".join(field.name for field in fields(Category) if field.name != "name")
    if not isinstance(values, dict) or "name" in values:
        raise EditError(f"{where}: give the fields {known} below the category's name")
    for code in CODE:
        if code in values:
            raise EditError(
                f"{where}: {code} is a function, which no YAML file brings; write a package: "
                f"`keyface plugins new {name}`"
            )
    return parse(Category, {**values, "name": name}, where)


edits = Registry()
"""The program's categories."""
