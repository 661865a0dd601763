"""Ways to edit, in words and in YAML: settings by name, the rows of an ablation, the points of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from keyface.configuration import did_you_mean
from keyface.editing.settings import EditSettings
from keyface.evaluation.files import read_yaml
from keyface.evaluation.rows.method import Method

ALIASES: Mapping[str, str] = {"guidance": "guidance_scale"}
"""What `keyface edit` calls a setting → its name in `EditSettings`."""

BRANCHES: Mapping[str, str] = {"identity": "ε1", "direction": "ε2"}
"""Settings that choose a network: `tuned`, or `base` for the untuned U-Net."""

SWEPT: Mapping[str, tuple[float, ...]] = {
    "injection.until": (0.0, 0.5, 1.0),
    "guidance_scale": (1.0, 4.0, 7.5),
    "strength": (0.5, 0.75, 1.0),
    "steps": (10, 25, 50),
    "interval": (1, 8, 16),
}
"""Values that `--sweep NAME` tries where it names none."""

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class Variant:
    """A way to edit.

    Attributes:
        name: Its row's name and its folder's.
        settings: Name → value, of `EditSettings` with dots ("injection.until") or of `BRANCHES`; what is not
            named stays as it is.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Method(self.name, Path())  # for its rules about names, since a row's name becomes a folder's
        for name in BRANCHES:
            if self.settings.get(name, "tuned") not in ("tuned", "base"):
                raise ValueError(f"{self.name}: {name} is {self.settings[name]!r}; choose tuned or base")
        self.apply(EditSettings())

    def apply(self, settings: EditSettings) -> EditSettings:
        """The settings with this variant's values in their place.

        Raises:
            ValueError: A name is unknown or a value does not fit.
        """
        for name, value in self.settings.items():
            if name not in BRANCHES:
                settings = with_value(settings, name, value)
        return settings

    def tuned(self, branch: str) -> bool:
        """Whether `identity` (ε1) or `direction` (ε2) is the fine-tuned network."""
        return str(self.settings.get(branch, "tuned")) == "tuned"


def with_value(settings: _Settings, name: str, value: Any) -> _Settings:
    """Settings with one value changed.

    Args:
        settings: `EditSettings`, or a part of it.
        name: The setting; parts are separated by dots.
        value: Of the type that the setting has, or text that says one.

    Raises:
        ValueError: The name is unknown or the value does not fit.
    """
    head, _, rest = name.partition(".")
    head = ALIASES.get(head, head)
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    known = tuple(each.name for each in fields(settings))
    if head not in known:
        raise ValueError(
            f"unknown setting {name!r}{did_you_mean(head, known)}; known here: {', '.join(known)}"
        )
    current = getattr(settings, head)
    new = with_value(current, rest, value) if rest else _converted(name, value, current)
    changed: _Settings = replace(settings, **{head: new})
    return changed


def _converted(name: str, value: Any, like: Any) -> Any:
    """The value in the type of the one that it replaces."""
    if isinstance(like, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError(f"{name} is {value!r}; it must be true or false")
    if isinstance(like, int | float):
        try:
            number = type(like)(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError):
            number = None
        if number is None or (isinstance(like, int) and float(number) != float(value)):
            raise ValueError(f"{name} is {value!r}; it must be a {'whole ' * isinstance(like, int)}number")
        return number
    if isinstance(like, str) and isinstance(value, str):
        return value
    raise ValueError(f"{name} cannot be set to {value!r} here")


def parse_settings(text: str) -> dict[str, str]:
    """Read "steps=10,injection.until=0.5".

    Raises:
        ValueError: A part is not NAME=VALUE, or a name comes twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name = _unaliased(name.strip())
        if not equals or not name or not value.strip():
            raise ValueError(f"--edit {part!r}: give NAME=VALUE, such as steps=10 or injection.until=0.5")
        if name in found:
            raise ValueError(f"--edit: {name} is given twice")
        found[name] = value.strip()
    return found


def read_variants(path: Path, base: Mapping[str, Any]) -> list[Variant]:
    """Read the rows of an ablation: a YAML mapping from each row's name to its settings.

    Args:
        path: For example `configs/evaluate/ablation.yaml`, which ships with keyface.
        base: Settings of every row, which the file's override.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a mapping, or a setting is unknown.
    """
    content = read_yaml(path, "no such file of variants")
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: a mapping from names to settings is needed, as in 'full: {{}}'")
    found = []
    for name, settings in content.items():
        if settings is not None and not isinstance(settings, dict):
            raise ValueError(f"{path}: {name}: its settings must be a mapping, not {settings!r:.60}")
        try:
            found.append(Variant(str(name), {**base, **_flat(settings or {})}))
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from error
    return found


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {_unaliased(name): value}
    return found


def grid(text: str, base: Mapping[str, Any]) -> list[Variant]:
    """The points of a sweep.

    Args:
        text: Settings separated by commas, each with values if not those of `SWEPT`:
            "injection.until,strength=0.5:0.75:1", "injection.enabled=false:true".
        base: Settings of every point.

    Returns:
        One variant for each combination of values.

    Raises:
        ValueError: A setting is unknown, has no values, or a value does not fit.
    """
    axes: dict[str, Sequence[Any]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, values = part.partition("=")
        name = _unaliased(name.strip())
        chosen: Sequence[Any] = values.split(":") if equals else SWEPT.get(name, ())
        if not chosen or not all(str(value).strip() for value in chosen):
            raise ValueError(f"--sweep {part}: say which values, as in {name}=1:2:4")
        if name in axes:
            raise ValueError(f"--sweep: {name} is given twice")
        axes[name] = [_point(name, value) for value in chosen]
    if not axes:
        raise ValueError("--sweep is empty; name settings, such as injection.until,guidance,strength")
    return [
        Variant(
            " ".join(f"{name} {_shown(value)}" for name, value in zip(axes, point, strict=True)),
            {**base, **dict(zip(axes, point, strict=True))},
        )
        for point in product(*axes.values())
    ]


def _point(name: str, value: Any) -> float | str:
    if value in ("true", "false"):
        return str(value)  # `with_value` reads it
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--sweep {name}: {value!r} is neither a number nor true or false") from None


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _unaliased(name: str) -> str:
    head, dot, rest = name.partition(".")
    return f"{ALIASES.get(head, head)}{dot}{rest}"
