"""Dataclasses from what people write in YAML, in JSON and on the command line, checked at the border."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

Configured = TypeVar("Configured")

_YAML_WORDS = {True: ("on", "yes"), False: ("off", "no")}
"""YAML reads these words as true and false, also where they are one of several choices."""


_LONGEST = 200
"""Characters of a value that a message shows."""


def parse(cls: type[Configured], values: Mapping[str, Any], where: str) -> Configured:
    """Make a dataclass from a mapping.

    Args:
        cls: The dataclass; fields may be dataclasses themselves.
        values: Field → value. A dataclass in it is a mapping, or is given by dotted names
            (`injection.until`).
        where: File or option that the values come from, with which messages begin.

    Raises:
        ValueError: A name is unknown, a value is of the wrong type or out of range, or one is missing; one
            line says where, what, and what to do.
    """
    return _made(cls, _checked(cls, values, where, ""), where)


def given(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check values for a dataclass, and return only these: nested, and in the types of the fields.

    Args:
        cls: The dataclass. The values' ranges are checked as well if it needs no others.
        values: As in `parse`.
        where: As in `parse`.

    Raises:
        ValueError: As in `parse`; values may be missing.
    """
    found = _checked(cls, values, where, "")
    if not _missing(cls, found):
        _made(cls, found, where)
    return found


def merged(instance: Configured, values: Mapping[str, Any], where: str) -> Configured:
    """Return a dataclass with the given values in place of its own.

    Args:
        instance: The dataclass that has the other values, also those of dataclasses inside it.
        values: As in `parse`.
        where: As in `parse`.

    Raises:
        ValueError: As in `parse`.
    """
    return _replaced(instance, _checked(type(instance), values, where, ""), where)


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest known names, or nothing."""
    lowered = {candidate.lower(): candidate for candidate in known}
    nearest = [lowered[match] for match in get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    if not nearest:
        return ""
    return f" (did you mean {' or '.join(repr(match) for match in nearest)}?)"


def _checked(cls: type, values: object, where: str, prefix: str) -> dict[str, Any]:
    """Return the values nested and in the fields' types; `prefix` ends in a dot inside another dataclass."""
    if not isinstance(values, Mapping):
        name = prefix.rstrip(".") or "what is given"
        raise ValueError(f"{where}: {name} is {_shown(values)}; it must be a mapping from names to values")
    hints, known = get_type_hints(cls), tuple(each.name for each in _fields(cls))
    found: dict[str, Any] = {}
    for name, value in _nested(values, where, prefix).items():
        if name not in known:
            raise ValueError(
                f"{where}: unknown name {prefix + name!r}{did_you_mean(name, known)}; known here: "
                + ", ".join(prefix + each for each in known)
            )
        if is_dataclass(hints[name]):
            found[name] = _checked(hints[name], value, where, f"{prefix}{name}.")
        else:
            found[name] = _typed(hints[name], value, where, prefix + name)
    return found


def _nested(values: Mapping[str, Any], where: str, prefix: str) -> dict[str, Any]:
    """Turn dotted names at the top into mappings: {"a.b": 1, "a": {"c": 2}} → {"a": {"b": 1, "c": 2}}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        head, dot, rest = str(name).partition(".")
        added = {rest: value} if dot else value
        before = found.get(head, {})
        if head in found and not (isinstance(before, Mapping) and isinstance(added, Mapping)):
            raise ValueError(f"{where}: {prefix}{head} is given twice; leave one of the two out")
        if isinstance(before, Mapping) and isinstance(added, Mapping):
            for each in before.keys() & added.keys():
                raise ValueError(f"{where}: {prefix}{head}.{each} is given twice; leave one of the two out")
            added = {**before, **added}
        found[head] = added
    return found


def _typed(hint: Any, value: Any, where: str, name: str) -> Any:
    """Return a value in the type of its field."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    if isinstance(value, bool) and get_origin(hint) is Literal:
        value = next((word for word in _YAML_WORDS[value] if word in get_args(hint)), value)
    try:
        typed = parser.parse_object({"value": value}).value
    except (ArgumentError, OverflowError):  # of a whole number beyond the floats
        raise ValueError(f"{where}: {name} is {_shown(value)}; it must be {in_words(hint)}") from None
    if typed is None and value is None and type(None) not in get_args(hint):
        raise ValueError(f"{where}: {name} has no value; it must be {in_words(hint)}")
    if not all(math.isfinite(each) for each in _floats(typed)):
        raise ValueError(f"{where}: {name} is {_shown(value)}; it must be {in_words(hint)}, and finite")
    return typed


def _shown(value: object) -> str:
    """Return a value for a message; the anchors of a short YAML file can make millions of values of it."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _floats(each)
    elif isinstance(value, Mapping):
        yield from _floats(list(value.values()))


def in_words(hint: Any) -> str:
    """Say what a type is to somebody who does not program."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if hint in words:
        return words[hint]
    arguments = [each for each in get_args(hint) if each not in (Ellipsis, type(None))]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if get_origin(hint) in (list, tuple) and len(set(arguments)) == 1:
        return f"a list, each item {in_words(arguments[0])}"
    if arguments and type(None) in get_args(hint):
        return f"{' or '.join(map(in_words, arguments))}, or null"
    return str(hint)


def _made(cls: type[Configured], values: Mapping[str, Any], where: str) -> Configured:
    """Make the dataclass from checked values."""
    missing = _missing(cls, values)
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(missing)}")
    hints = get_type_hints(cls)
    parts = {
        name: _made(hints[name], value, where) if is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    try:
        return cls(**parts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _replaced(instance: Configured, values: Mapping[str, Any], where: str) -> Configured:
    """Return the dataclass with checked values in place of its own."""
    parts: dict[str, Any] = {}
    for name, value in values.items():
        own = getattr(instance, name)
        parts[name] = _replaced(own, value, where) if is_dataclass(own) else value
    try:
        return cast(Configured, replace(cast(Any, instance), **parts))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _missing(cls: type, values: Mapping[str, Any]) -> list[str]:
    return [
        each.name
        for each in _fields(cls)
        if each.name not in values and each.default is MISSING and each.default_factory is MISSING
    ]


def _fields(cls: type) -> list[Field[Any]]:
    """Return the fields that the dataclass is made from."""
    return [each for each in fields(cls) if each.init]
