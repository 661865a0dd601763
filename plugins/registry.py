"""The registry of edit categories: built-in, from installed packages, from YAML and from code."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from keyface.plugins.category import Category, EditError, did_you_mean
from keyface.plugins.compose import refuse_conflicts

GROUP = "keyface.edits"
"""The entry point group; each entry point names a ``Category`` or an iterable of them."""


class PluginError(EditError):
    """An installed plugin that cannot be used; the message names it, its package and the fix."""


class Registry:
    """Edit categories by name. Installed plugins are imported when the first name is asked for.

    Args:
        group: The entry point group that is searched; ``None`` starts, and stays, without plugins.
    """

    def __init__(self, group: str | None = GROUP) -> None:
        self._group = group
        self._loaded = False
        self._categories: dict[str, Category] = {}
        self._origins: dict[str, str] = {}

    def load(self) -> None:
        """Import every plugin of the group, once.

        Raises:
            PluginError: A plugin fails on import, is of the wrong type or takes a name that is in use.
        """
        if self._loaded or self._group is None:
            return
        found = [
            (category, origin)
            for plugin in sorted(entry_points(group=self._group), key=_builtin_first)
            for category, origin in _categories_of(plugin)
        ]
        merged = Registry(group=None)
        for category, origin in found:
            merged._insert(category, origin)
        for name, category in self._categories.items():
            merged._insert(category, self._origins[name])
        # Only now, so that a failing plugin fails again at the next call instead of leaving half a registry.
        self._categories, self._origins, self._loaded = merged._categories, merged._origins, True

    def add(self, category: Category, *, origin: str = "code") -> Category:
        """Add one category and return it.

        Raises:
            EditError: Its name is in use.
        """
        if not isinstance(category, Category):
            raise EditError(f"edits.add takes a Category, not {type(category).__name__}")
        self.load()
        self._insert(category, origin)
        return category

    def from_yaml(self, path: str | Path) -> list[Category]:
        """Add the categories of a YAML file, all or none, and return them.

        The file maps each name to the fields of ``Category``; lists stand for tuples::

            freckles:
              targets: [freckles, freckled skin]
              source: clear skin
              attribute: Rosy_Cheeks
              regions: [skin, nose]

        Raises:
            EditError: The file cannot be read, a field is unknown or wrong, or a name is in use.
        """
        categories = read_yaml(path)
        self.load()
        for category in categories:
            self._refuse_clash(category, str(path))
        for category in categories:
            self._insert(category, str(path))
        return categories

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
        """Return where a category comes from: a package, a YAML file or ``code``."""
        self[name]
        return self._origins[name]

    def __getitem__(self, name: str) -> Category:
        self.load()
        if name not in self._categories:
            raise EditError(
                f"unknown edit {name!r}{did_you_mean(name, self.names())}; `keyface plugins list` shows all"
            )
        return self._categories[name]

    def __contains__(self, name: object) -> bool:
        self.load()
        return name in self._categories

    def __iter__(self) -> Iterator[Category]:
        return iter([self._categories[name] for name in self.names()])

    def __len__(self) -> int:
        return len(self.names())

    def _refuse_clash(self, category: Category, origin: str) -> None:
        if category.name in self._categories:
            raise EditError(
                f"edit category {category.name!r} from {origin} has the name of one from "
                f"{self._origins[category.name]}; rename it or remove one of the two"
            )

    def _insert(self, category: Category, origin: str) -> None:
        self._refuse_clash(category, origin)
        self._categories[category.name] = category
        self._origins[category.name] = origin


def read_yaml(path: str | Path) -> list[Category]:
    """Read categories from a YAML file without adding them anywhere; see ``Registry.from_yaml``."""
    yaml = import_module("yaml")  # only when needed, and it has no types
    try:
        # The safe loader: a tag that would build an object is an error, never an object.
        content = yaml.safe_load(Path(path).read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EditError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise EditError(
            f"{path}: a mapping from names to fields is needed, as in 'freckles: {{targets: [...]}}'"
        )
    return [_category_of(path, str(name), values) for name, values in content.items()]


def _category_of(path: str | Path, name: str, values: object) -> Category:
    known = tuple(field.name for field in fields(Category) if field.name != "name")
    if not isinstance(values, dict):
        raise EditError(f"{path}: {name!r} needs the fields {', '.join(known)}")
    for field in values:
        if field not in known:
            raise EditError(
                f"{path}: {name!r} has an unknown field {field!r}{did_you_mean(str(field), known)}"
            )
    missing = [field for field in ("targets", "source", "attribute") if field not in values]
    if missing:
        raise EditError(f"{path}: {name!r} lacks {', '.join(missing)}")
    frozen: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value for field, value in values.items()
    }
    try:
        return Category(name=name, **frozen)
    except EditError as error:
        raise EditError(f"{path}: {error}") from error


def _builtin_first(plugin: EntryPoint) -> tuple[bool, str, str]:
    # A third party that takes a built-in name must be the one that the error is about.
    package = _package_of(plugin)
    return package != "keyface", package, plugin.name


def _package_of(plugin: EntryPoint) -> str:
    return plugin.dist.name if plugin.dist is not None else "an unknown package"


def _categories_of(plugin: EntryPoint) -> list[tuple[Category, str]]:
    package = _package_of(plugin)
    where = f"plugin {plugin.name!r} ({plugin.value}) of package {package!r}"
    fix = f"fix or uninstall it: pip uninstall {package}"
    try:
        content = plugin.load()
    except Exception as error:  # a third party's module may raise anything at all
        reason = " ".join(str(error).split()) or "no message"
        raise PluginError(f"{where} fails on import with {type(error).__name__}: {reason}; {fix}") from error
    items = [content] if isinstance(content, Category) else content
    if not isinstance(items, Iterable) or isinstance(items, str | bytes):
        raise PluginError(f"{where} is a {type(content).__name__}, not a Category or a list of them; {fix}")
    categories = list(items)
    for item in categories:
        if not isinstance(item, Category):
            raise PluginError(f"{where} holds a {type(item).__name__} among its categories; {fix}")
    return [(category, package) for category in categories]


edits = Registry()
"""The program's categories."""
