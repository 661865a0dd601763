"""The one reader of text that anybody may have written: JSON and YAML of bounded size, depth and digits.

Every message begins with the file's name. A name that is said twice is an error, of which the formats would
take the last without a word. Imports nothing heavy.
"""

import json
import math
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

MOST_BYTES = 64 * 2**20
"""Of a file, where its reader names no other limit."""

MOST_DEPTH = 64
"""Lists and mappings inside each other; what keyface writes and reads has below ten."""

MOST_DIGITS = 40
"""Of a whole number; 2**64 has 20."""

MOST_NODES = 1_000_000
"""Values of a YAML document with all that its anchors repeat."""

_SHOWN = 60


class UntrustedError(ValueError):
    """Text that cannot be taken; the message names its file."""


def read_bytes(path: Path, limit: int = MOST_BYTES, missing: str = "no such file") -> bytes:
    """Return the content of a file of bounded size.

    Args:
        path: The file; a pipe or a device is none.
        limit: Most bytes.
        missing: What the error says where there is no file.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedError: It is larger, or cannot be read.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: {missing}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: {missing}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise UntrustedError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    if len(content) > limit:
        raise UntrustedError(f"{path}: larger than {limit:,} bytes, which is the most that is read")
    return content


def read_json(
    path: Path, *, limit: int = MOST_BYTES, missing: str = "no such file", allow_nan: bool = False
) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.
        limit: Most bytes.
        missing: What the error says where there is no file.
        allow_nan: Whether NaN and infinity may be in it, which are no JSON.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedError: It is too large, no JSON, nested too deeply, or has a number that is none.
    """
    return parse_json(read_bytes(path, limit, missing), str(path), limit=limit, allow_nan=allow_nan)


def read_json_object(path: Path, **options: Any) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object, as `read_json` does.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedError: As of `read_json`, or it holds something else.
    """
    content = read_json(path, **options)
    if not isinstance(content, dict):
        raise UntrustedError(f'{path}: an object with names and values is needed, as in {{"steps": 20}}')
    return content


def parse_json(data: bytes | str, where: str, *, limit: int = MOST_BYTES, allow_nan: bool = False) -> Any:
    """Return the content of JSON text.

    Args:
        data: The text; bytes are UTF-8.
        where: Where it comes from, with which messages begin.
        limit: Most bytes.
        allow_nan: As of `read_json`.

    Raises:
        UntrustedError: As of `read_json`.
    """
    if len(data) > limit:
        raise UntrustedError(f"{where}: larger than {limit:,} bytes, which is the most that is read")

    def constant(word: str) -> float:
        if allow_nan:
            return float(word)
        raise ValueError(f"{word} is no number of JSON")

    def decimal(text: str) -> float:
        number = float(text)
        if not math.isfinite(number) and not allow_nan:
            raise ValueError(f"the number {text[:_SHOWN]} is too large")
        return number

    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        content = json.loads(
            text, object_pairs_hook=_once, parse_int=_whole, parse_float=decimal, parse_constant=constant
        )
        _require_shallow(content)
    except RecursionError:
        raise UntrustedError(f"{where}: {_too_deep()}") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise UntrustedError(f"{where}: cannot be read as JSON: {_short(error)}") from error
    return content


def read_yaml(path: Path | str, *, limit: int = MOST_BYTES) -> dict[str, Any]:
    """Return the content of a YAML file that holds a mapping; no tag in it builds an object.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedError: It is too large, not YAML, nested too deeply, no mapping, refers to itself, repeats
            too much by its anchors, says the same name twice, or has a number of too many digits.
    """
    yaml: Any = import_module("yaml")  # it has no types
    data = read_bytes(Path(path), limit)
    try:
        loader = yaml.SafeLoader(data)
        node = loader.get_single_node()
        for part in _nodes(node, set()):
            _refuse_twice(part, path)
            _refuse_digits(part, path)
        if node is not None and _count(node, {}) > MOST_NODES:
            raise UntrustedError(f"{path}: its anchors repeat more than {MOST_NODES:,} values")
        content = None if node is None else loader.construct_document(node)
        _require_shallow(content)
    except RecursionError:
        raise UntrustedError(f"{path}: {_too_deep()}") from None
    except UntrustedError:
        raise
    except (ValueError, yaml.YAMLError) as error:  # ValueError: a date or a number that is none
        raise UntrustedError(f"{path}: cannot be read as YAML: {_short(error)}") from error
    if not isinstance(content, dict):
        raise UntrustedError(f"{path}: a mapping from names to values is needed, as in 'steps: 20'")
    return cast(dict[str, Any], content)


def is_finite_number(value: object) -> bool:
    """Tell whether a value is a number that a float holds: not NaN, infinite, true, false, or 10**400."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def finite_number(value: object, where: str, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a value as a float.

    Args:
        value: Of a file.
        where: The file and the value's name, with which the message begins.
        least: The value must not lie below.
        most: Nor above.

    Raises:
        UntrustedError: It is no finite number, or lies outside.
    """
    if is_finite_number(value) and least <= (number := float(cast(float, value))) <= most:
        return number
    between = {
        (False, False): "",
        (True, False): f" from {least:g} on",
        (False, True): f" up to {most:g}",
        (True, True): f" from {least:g} to {most:g}",
    }[math.isfinite(least), math.isfinite(most)]
    raise UntrustedError(f"{where} is {_shown(value)}; it must be a finite number{between}")


def whole_number(value: object, where: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a value as an int.

    Args:
        value: As of `finite_number`.
        where: As of `finite_number`.
        least: The value must not lie below.
        most: Nor above.

    Raises:
        UntrustedError: It is no whole number, or lies outside.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise UntrustedError(f"{where} is {_shown(value)}; it must be a whole number from {least} to {most}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, whose names differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_shown(twice)} is given twice; leave one of the two out")
    return found


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits; at most {MOST_DIGITS} are read")
    return int(text)


def _require_shallow(content: object) -> None:
    """Raise RecursionError where lists and mappings lie too deep inside each other."""
    level, depth = [content], 0
    while level := [
        child
        for each in level
        if isinstance(each, dict | list)
        for child in (each.values() if isinstance(each, dict) else each)
        if isinstance(child, dict | list)
    ]:
        depth += 1
        if depth >= MOST_DEPTH:
            raise RecursionError


def _count(node: Any, known: dict[int, int]) -> int:
    """Return how many values a YAML node stands for, with all that its anchors repeat.

    Raises:
        ValueError: It is a part of itself.
    """
    if isinstance(node.value, str):
        return 1
    if id(node) in known:
        if known[id(node)] < 0:
            raise ValueError("a part of it refers to itself by an anchor")
        return known[id(node)]
    known[id(node)] = -1
    children = (part for child in node.value for part in (child if isinstance(child, tuple) else (child,)))
    known[id(node)] = 1 + sum(_count(child, known) for child in children)
    return known[id(node)]


def _nodes(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the nodes of a YAML document, each once; anchors may make a circle."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    yield node
    if not isinstance(node.value, str):
        for child in node.value:
            for each in child if isinstance(child, tuple) else (child,):
                yield from _nodes(each, seen)


def _refuse_digits(node: Any, path: Path | str) -> None:
    """Raise at a whole number of more digits than are read."""
    if node.tag.endswith(":int") and len(node.value) > MOST_DIGITS:
        raise UntrustedError(
            f"{path}: line {node.start_mark.line + 1} has a number of {len(node.value)} digits; at most "
            f"{MOST_DIGITS} are read"
        )


def _refuse_twice(node: Any, path: Path | str) -> None:
    """Raise where a name comes twice, of which YAML would take the last without a word."""
    names: set[str] = set()
    for key, _ in node.value if node.id == "mapping" else ():
        if str(key.value) in names:
            raise UntrustedError(
                f"{path}: {str(key.value)!r} is given twice in the mapping that begins in line "
                f"{node.start_mark.line + 1}; leave one of the two out"
            )
        names.add(str(key.value))


def _too_deep() -> str:
    return f"lists and mappings lie more than {MOST_DEPTH} deep inside each other; nothing of keyface does"


def _short(error: Exception) -> str:
    """Return an error's message in one line; of a long run of characters, such as digits, the beginning."""
    return re.sub(rf"(\S{{{_SHOWN}}})\S+", r"\1…", " ".join(str(error).split()))


def _shown(value: object) -> str:
    """Return a value for a message; a whole number of thousands of digits cannot even be printed."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * _SHOWN:
        return f"a whole number of about {value.bit_length() * 3 // 10} digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
