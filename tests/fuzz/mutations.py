"""Strategies that spoil valid files: bytes of any format, values of JSON and YAML, headers of safetensors."""

import json
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

CANARY = "canary"
"""Name of the file that code in a hostile input would make; it must never exist."""

NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
)
"""Sizes and counts at which parsers of binary formats go wrong."""

HOSTILE = (
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "NaN",
    "-Infinity",
    "1e300",
    "1e999",
    str(2**31),
    str(2**63),
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "[]",
    "{}",
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"' + "a" * 5000 + '"',
    f'"../{CANARY}"',
    f'"/tmp/../{CANARY}"',
    f'"pipe:touch {CANARY}"',
    '{"a": 1, "a": 2}',
    "[" * 50 + "]" * 50,
    "[" * 100_000,
    "[" * 2000 + "]" * 2000,
)
"""Tokens that JSON (or Python's reading of it) takes, and few programs expect."""

HOSTILE_YAML = (
    *HOSTILE,
    f'!!python/object/apply:os.system ["touch {CANARY}"]',
    "!!python/name:os.system",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!timestamp 2001-13-41",
    "&a [*a]",
    "&a {b: *a}",
    "*nowhere",
    ".nan",
    "-.inf",
    "1:30",
    "0o17",
    "0b2",
    "off",
    "~",
    "2001-01-01",
    "? x",
    "{[a]: b}",
    "{<<: 1}",
    "{<<: {a: 1}, a: 2}",
    f"[&b [{', '.join('x' * 10)}], "
    + ", ".join(f"&{name} [{', '.join([f'*{before}'] * 8)}]" for before, name in pairwise("bcdef"))
    + f", [{', '.join(['*f'] * 8)}]]",
    "\t- x",
    "'",
)

Path = tuple[str | int, ...]


@st.composite
def bytes_of(draw: DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw a valid file with up to four wounds: bits, numbers, an end, parts lost, doubled or moved."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        # Headers lie at the beginning, and indices at the end.
        at = draw(
            st.one_of(
                st.integers(0, len(data) - 1),
                st.integers(0, min(512, len(data) - 1)),
                st.integers(max(0, len(data) - 512), len(data) - 1),
            )
        )
        length = draw(st.integers(1, 64))
        match draw(
            st.sampled_from(("flip", "byte", "number", "cut", "lose", "double", "move", "zero", "insert"))
        ):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "number":
                size = draw(st.sampled_from((1, 2, 4, 8)))
                number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * size)
                order = draw(st.sampled_from((">", "<")))
                code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
                data[at : at + size] = struct.pack(f"{order}{code}", number)
            case "cut":
                del data[at:]
            case "lose":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "move":
                part = data[at : at + length]
                del data[at : at + length]
                to = draw(st.integers(0, len(data)))
                data[to:to] = part
            case "zero":
                data[at : at + length] = bytes(len(data[at : at + length]))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


@st.composite
def text_of(
    draw: DrawFn, values: Sequence[Any], tokens: Sequence[str] = HOSTILE, names: Sequence[str] = ()
) -> bytes:
    """Draw JSON (which is YAML as well) of a valid value in which up to three places hold hostile tokens.

    Args:
        draw: Hypothesis'.
        values: Valid ones.
        tokens: What takes the place of a part, as it stands in the text.
        names: Names that mappings may get, beside those that they have.
    """
    value = json.loads(json.dumps(draw(st.sampled_from(values))))
    replaced: dict[str, str] = {}
    for number in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(value)))
        mark = f"@@{number}@@"
        match draw(st.sampled_from(("token", "token", "token", "token", "without", "name", "wrap", "swap"))):
            case "token":
                replaced[f'"{mark}"'] = draw(st.sampled_from(tokens))
                value = put(value, path, lambda _, mark=mark: mark)
            case "without":
                value = put(value, path[:-1], lambda inner, key=path[-1:]: without(inner, key))
            case "name":
                added = draw(
                    st.sampled_from([*names, "", "name", "class_path", "__class__", "a.b", "_target_"])
                )
                content = draw(st.sampled_from([None, 1, "x", [], {"a": 1}]))
                value = put(
                    value,
                    path,
                    lambda inner, a=added, c=content: {**inner, a: c} if isinstance(inner, dict) else inner,
                )
            case "wrap":
                value = put(value, path, lambda inner: [inner])
            case "swap":
                other = at(value, draw(st.sampled_from(paths(value))))
                value = put(value, path, lambda _, other=other: other)
    text = json.dumps(value)
    for mark, token in replaced.items():
        text = text.replace(mark, token)
    return text.encode()


@st.composite
def safetensors_of(draw: DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw a safetensors file whose header is spoiled: what it says of tensors, or its own length."""
    data = draw(st.sampled_from(seeds))
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    spoiled = draw(text_of([json.loads(header)]))
    spoiled = draw(st.sampled_from([spoiled, spoiled, spoiled, header]))
    said = draw(st.sampled_from([len(spoiled)] * 4 + [0, len(spoiled) - 1, 2**32, 2**60, 2**64 - 1]))
    body = draw(st.sampled_from([body, body, body, body[: len(body) // 2], b"", body + bytes(8)]))
    return struct.pack("<Q", max(said, 0)) + spoiled + body


def either(*strategies: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Draw from one of several strategies."""
    return st.one_of(*strategies)


def paths(value: Any, before: Path = ()) -> list[Path]:
    """Return the way to each part of a JSON value, the whole first."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for key, inner in pairs for path in paths(inner, (*before, key)))]


def at(value: Any, path: Path) -> Any:
    """Return the part of a JSON value that a path leads to."""
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """Return a JSON value with one part changed."""
    if not path:
        return change(value)
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], change)
    return copy


def without(value: Any, key: Path) -> Any:
    """Return a mapping or list without one entry; any other value as it is."""
    if not key or not isinstance(value, dict | list):
        return value
    copy = value.copy()
    del copy[key[0]]
    return copy
