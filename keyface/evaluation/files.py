"""Files of an evaluation: JSON that anybody may have written, JSON of ours, and configs that ship."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any


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


def digest(content: object) -> str:
    """Return the SHA-256, in hex, of anything that JSON takes; the order of keys does not count."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def find_config(name: Path | str) -> Path:
    """Return a file, or the one of that name that ships with keyface, as `ablation` in configs/evaluate."""
    path = Path(name)
    shipped = Path(str(files("keyface.configs.evaluate"))) / f"{path.name}.yaml"
    return shipped if len(path.parts) == 1 and not path.exists() and shipped.is_file() else path
