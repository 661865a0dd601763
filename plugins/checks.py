"""What an edit category must be; each fault is one line that says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from keyface.celeba import ATTRIBUTES, EXTRA_ATTRIBUTES, REGIONS
from keyface.configuration import did_you_mean

if TYPE_CHECKING:
    from keyface.plugins.category import Category

PLACES: tuple[str, ...] = ("clause", "adjective", "noun")

FAMILIES: tuple[str, ...] = ("miniature", "sd1", "sd2")
"""Families of models that a category may ask for other multiples of; `Backbone.family` tells a model's."""

AMOUNTS: tuple[str, ...] = ("strength", "guidance", "threshold", "injection", "residual")
"""What a category may ask for in other amounts of each family."""

_SHARES = ("injection", "residual")
"""Those of them that are shares of a time, in [0, 1]."""

CODE: tuple[str, ...] = ("mask", "judge", "loss")
"""Fields that hold functions (`keyface.plugins.extensions`)."""

TYPES: Mapping[str, str] = {
    **dict.fromkeys(("name", "source", "attribute", "place", "negative"), "text"),
    **dict.fromkeys(
        ("targets", "replaces", "regions", "conflicts", "needs", "hidden_by", "own_labels"),
        "a tuple of texts",
    ),
    "weights": "a tuple of numbers",
    **dict.fromkeys(("present", "reshapes"), "true or false"),
    **dict.fromkeys(AMOUNTS, "a number"),
    "defaults": f"a mapping from families of models to {', '.join(AMOUNTS)}",
    **dict.fromkeys(CODE, "a function"),
}
"""Field → what it must be, in words."""


def faults_of(category: Category) -> list[str]:
    """Return all that is wrong with a category; where types are wrong, only that."""
    wrong = [f"{name} must be {TYPES[name]}" for name in TYPES if not _fits(category, name)]
    return wrong or list(_value_faults(category))


def _fits(category: Category, name: str) -> bool:
    """Tell whether a field's value is of the type that `TYPES` says in words."""
    value = getattr(category, name)
    match TYPES[name]:
        case "text":
            return isinstance(value, str)
        case "a tuple of texts":
            return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        case "a tuple of numbers":
            return isinstance(value, tuple) and all(map(_is_number, value))
        case "true or false":
            return isinstance(value, bool)
        case "a number":
            return _is_number(value)
        case "a function":
            return value is None or callable(value)
    return isinstance(value, Mapping) and all(
        isinstance(amounts, Mapping) and all(map(_is_number, amounts.values())) for amounts in value.values()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value_faults(category: Category) -> Iterator[str]:
    """Yield what is wrong with values that are of the right types."""
    if not re.fullmatch(r"[a-z0-9-]+", category.name):
        yield "a name is lower-case letters, digits and '-'"
    if not category.targets or not all(phrase.strip() for phrase in (*category.targets, *category.replaces)):
        yield "targets needs at least one phrase, and no phrase may be empty"
    yield from _label_faults(category)
    for region in category.regions:
        if region not in REGIONS:
            yield (
                f"unknown region {region!r}{did_you_mean(region, REGIONS)}; use CelebAMask-HQ's class names: "
                + ", ".join(REGIONS)
            )
    if category.name in category.conflicts:
        yield "it cannot conflict with itself"
    yield from _amount_faults({name: getattr(category, name) for name in AMOUNTS})
    if category.place not in PLACES:
        yield f"place is {category.place!r}, it must be one of {', '.join(PLACES)}"
    if category.weights and not (
        len(category.weights) == len(category.targets)
        and all(math.isfinite(weight) and weight >= 0 for weight in category.weights)
        and sum(category.weights) > 0
    ):
        yield "weights needs one number from 0 on for each of targets, and one of them above 0"
    yield from _family_faults(category)


def _label_faults(category: Category) -> Iterator[str]:
    known = ATTRIBUTES + category.own_labels
    for label in category.own_labels:
        if label in ATTRIBUTES or not re.fullmatch(r"\w+", label):
            yield (
                f"own label {label!r}: it must be letters, digits and '_', and no label that CelebA or "
                "keyface has"
            )
    for label in dict.fromkeys((category.attribute, *category.needs, *category.hidden_by)):
        if label not in known:
            yield (
                f"unknown attribute {label!r}{did_you_mean(label, known)}; use a CelebA name, one of "
                f"{', '.join(EXTRA_ATTRIBUTES)}, or name it in own_labels"
            )


def _family_faults(category: Category) -> Iterator[str]:
    for family, amounts in category.defaults.items():
        if family not in FAMILIES:
            yield (
                f"defaults: unknown family of models {family!r}{did_you_mean(str(family), FAMILIES)}; "
                f"there are {', '.join(FAMILIES)}"
            )
        for name in amounts:
            if name not in AMOUNTS:
                yield f"defaults.{family}: {name!r} is none of {', '.join(AMOUNTS)}"
        yield from _amount_faults(amounts, f"defaults.{family}.")


def _amount_faults(amounts: Mapping[str, float], prefix: str = "") -> Iterator[str]:
    for name in AMOUNTS:
        value = amounts.get(name, 1.0)
        if name in _SHARES and not 0.0 <= value <= 1.0:
            yield f"{prefix}{name} is {value}, it must be in [0, 1]"
        elif name not in _SHARES and not 0.0 < value <= 2.0:
            yield f"{prefix}{name} is {value}, it must be in (0, 2]"
