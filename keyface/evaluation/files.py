"""Files: reading what anybody may have written, and hashing."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, what: str, missing: str, limit: int | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        what: What a file that is too large is not.
        missing: What the error says where there is no file.
        limit: Most bytes; None is any number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is too large, or no JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {missing}")
    if limit is not None and path.stat().st_size > limit:
        raise ValueError(f"{path}: larger than {limit} bytes, this is no {what}")
    try:
        return json.loads(path.read_bytes())
    # A few thousand brackets exhaust the parser's stack.
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def read_yaml(path: Path, missing: str = "no such file") -> Any:
    """Read a YAML file of plain values.

    Args:
        path: The file.
        missing: What the error says where there is no file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML, or holds more than plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {missing}")
    yaml: Any = import_module("yaml")  # it has no types
    try:
        return yaml.safe_load(path.read_bytes())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
