"""Arguments and settings as plain values, which checkpoints and cards can hold."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

PLAIN = (str, int, float, bool, list, dict, type(None))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that can be read back without running code: texts, numbers, lists, dictionaries.

    Frozen dataclasses, which hold settings, become dictionaries; networks and functions are left out.
    """
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            kept[name] = str(value)
        elif isinstance(value, PLAIN):
            kept[name] = value
        elif is_dataclass(value) and not isinstance(value, type) and _is_plain(_fields(value)):
            kept[name] = asdict(value)
    return kept


def _fields(value: Any) -> dict[str, Any]:
    # Unlike `asdict` this copies nothing: a field may be a whole network.
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _is_plain(fields: dict[str, Any]) -> bool:
    return all(
        isinstance(value, PLAIN) or (is_dataclass(value) and _is_plain(_fields(value)))
        for value in fields.values()
    )


def arguments_of(instance: object) -> dict[str, Any]:
    """Return what an object was made with, as far as it keeps it in attributes of the arguments' names."""
    names = inspect.signature(type(instance)).parameters
    return {name: getattr(instance, name) for name in names if hasattr(instance, name)}
