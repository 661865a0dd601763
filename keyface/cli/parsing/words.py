"""Names of files that are not UTF-8, on their way through a parser that takes text alone.

Python has such bytes as lone surrogates, which YAML, by which jsonargparse reads every value, refuses. While
words are parsed each stands as a character that Unicode will never give a meaning.
"""

import re
from pathlib import Path
from typing import TypeVar

_FIRST, _STAND_IN = 0xDC80, 0x10FE00
_BYTES = range(0x80)

_HIDDEN = {_FIRST + byte: _STAND_IN + byte for byte in _BYTES}
_SHOWN = {stand_in: byte for byte, stand_in in _HIDDEN.items()}
_ANY_SHOWN = re.compile(f"[{chr(_STAND_IN)}-{chr(_STAND_IN + 0x7F)}]")

Value = TypeVar("Value")


def hide_bytes(word: str) -> str:
    r"""Return a word that any parser takes.

    Example:
        >>> show_bytes(hide_bytes("a\udcff.mp4")) == "a\udcff.mp4"
        True
    """
    return word.translate(_HIDDEN)


def show_bytes(value: Value) -> Value:
    """Return what was parsed with the bytes as they were: text, paths, and lists and mappings of them."""
    if isinstance(value, str):
        return value.translate(_SHOWN)  # type: ignore[return-value]
    if isinstance(value, Path):
        return type(value)(str(value).translate(_SHOWN)) if _ANY_SHOWN.search(str(value)) else value
    if isinstance(value, list | tuple):
        return type(value)(show_bytes(each) for each in value)
    if isinstance(value, dict):
        return {name: show_bytes(each) for name, each in value.items()}  # type: ignore[return-value]
    return value
