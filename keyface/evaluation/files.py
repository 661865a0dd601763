"""Files of an evaluation: digests of JSON, and configs that ship."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path


def digest(content: object) -> str:
    """Return the SHA-256, in hex, of anything that JSON takes; the order of keys does not count."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def find_config(name: Path | str) -> Path:
    """Return a file, or the one of that name that ships with keyface, as `ablation` in configs/evaluate."""
    path = Path(name)
    shipped = Path(str(files("keyface.configs.evaluate"))) / f"{path.name}.yaml"
    return shipped if len(path.parts) == 1 and not path.exists() and shipped.is_file() else path
