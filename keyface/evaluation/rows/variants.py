"""Ways to edit: rows of a table from YAML, and the points of a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from keyface.configuration import given
from keyface.editing.settings import EditSettings
from keyface.evaluation.files import find_config
from keyface.evaluation.rows.method import check_name
from keyface.untrusted import read_yaml

Weights = Literal["tuned", "base"]


@dataclass(frozen=True)
class VariantSettings(EditSettings):
    """What a variant may say: how to edit, and with which networks."""

    identity: Weights = "tuned"
    """ε1: the fine-tuned network, or the untuned U-Net in its place."""
    direction: Weights = "tuned"
    """ε2, likewise."""


@dataclass(frozen=True)
class Variant:
    """A way to edit.

    Attributes:
        name: Its row's name and its folder's.
        settings: Values of `EditSettings`, nested; what is not among them stays as it is.
        identity: Whether ε1 is fine-tuned.
        direction: Whether ε2 is fine-tuned.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    identity: Weights = "tuned"
    direction: Weights = "tuned"

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any], base: Mapping[str, Any], where: str) -> "Variant":
        """Make a variant from what people write.

        Args:
            name: Its name.
            values: Fields of `VariantSettings`, nested or by dotted names.
            base: Settings of every variant, nested, which `values` override.
            where: File or option that it comes from.

        Raises:
            ValueError: The name is none for a row, a setting is unknown, or a value does not fit.
        """
        try:
            check_name(name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        found = _over(base, given(VariantSettings, values, where))
        networks = {branch: found.pop(branch) for branch in ("identity", "direction") if branch in found}
        return cls(name, found, **networks)

    @property
    def branches(self) -> dict[str, Weights]:
        """Return which networks are used, by branch."""
        return {"identity": self.identity, "direction": self.direction}

    def apply(self, settings: EditSettings) -> EditSettings:
        """Return settings with this variant's values in place of their own."""
        return settings.with_values(self.settings, self.name)


@dataclass(frozen=True)
class Ways:
    """How keyface edits in one evaluation.

    Attributes:
        control: How controls are inverted.
        rows: Rows of the table.
        points: Points of the sweep.
    """

    control: Variant
    rows: tuple[Variant, ...] = ()
    points: tuple[Variant, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether keyface edits at all."""
        return bool(self.rows or self.points)


def choose_ways(
    ours: bool,
    base: Mapping[str, Any],
    variants: Path | str | None = None,
    sweep: Mapping[str, Any] | str | None = None,
) -> Ways:
    """Return how keyface edits.

    Args:
        ours: Whether there is a row `ours`, with the base settings alone.
        base: Settings of every row and point, nested.
        variants: YAML file of rows, or the name of one that ships with keyface.
        sweep: As of `grid`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A setting is unknown or does not fit.
    """
    rows = [Variant("ours", base)] if ours else []
    if variants is not None:
        rows += read_variants(variants, base)
    return Ways(Variant("controls", base), tuple(rows), tuple(grid(sweep, base) if sweep is not None else ()))


def read_variants(file: Path | str, base: Mapping[str, Any] | None = None) -> list[Variant]:
    """Read rows of a table: a YAML mapping from each row's name to its settings.

    Args:
        file: For example `ablation`, which ships with keyface in `configs/evaluate`.
        base: Settings of every row, nested, which the file's override.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a mapping, or a setting is unknown or does not fit.
    """
    path = find_config(file)
    rows = read_yaml(path)
    if not rows:
        raise ValueError(f"{path}: a mapping from names to settings is needed, as in 'full: {{}}'")
    return [
        Variant.of(str(name), values if values is not None else {}, base or {}, f"{path}: {name}")
        for name, values in rows.items()
    ]


def grid(axes: Mapping[str, Any] | str, base: Mapping[str, Any]) -> list[Variant]:
    """Return the points of a sweep.

    Args:
        axes: Setting by dotted name → list of values, such as
            `{injection.enabled: [false, true], strength: [0.5, 1]}`; text is what could not be read so.
        base: Settings of every point, nested.

    Returns:
        One variant for each combination of values.

    Raises:
        ValueError: A setting is unknown, has no list of values, or a value does not fit.
    """
    if isinstance(axes, str) or not axes:
        raise ValueError(f"--sweep {axes}: name settings and their values, as in '{{strength: [0.5, 1]}}'")
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"--sweep: say which values, as in '{{{name}: [1, 2, 4]}}'")
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return [
        Variant.of(
            " ".join(f"{name} {_shown(value)}" for name, value in point.items()), point, base, "--sweep"
        )
        for point in points
    ]


def _over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others in place of their own."""
    return {
        **base,
        **{
            name: _over(base.get(name, {}), value) if isinstance(value, Mapping) else value
            for name, value in values.items()
        },
    }


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)
