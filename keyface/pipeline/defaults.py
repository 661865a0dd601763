"""How networks edit by default: `edit.yaml` beside their weights. Imports nothing heavy, for `--help`."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from keyface.editing.settings import EditSettings
from keyface.untrusted import read_yaml

DEFAULTS = "edit.yaml"
"""File beside the weights of a backbone, or of ε2: values of `EditSettings` with which it edits best."""


def defaults_of(source: Path | None, direction: Path | None = None) -> EditSettings:
    """Return how networks edit by default: as the `edit.yaml` in the folders of their weights say.

    Args:
        source: Folder of the backbone. A single file of weights, and None, have the defaults of
            `EditSettings`.
        direction: Folder of ε2, whose values come before the backbone's: how much guidance an edit takes
            depends on how ε2 was trained.

    Raises:
        ValueError: A file is damaged, or a value does not fit.
    """
    found = EditSettings()
    for folder in filter(None, (source, direction)):
        if (file := folder / DEFAULTS).is_file():
            found = found.with_values(read_yaml(file), str(file))
    return found


def miniature_defaults() -> EditSettings:
    """Return how the miniature edits by default, without reading its networks."""
    weights = Path(str(files("keyface.miniature"))) / "weights"
    return defaults_of(weights / "base", weights / "direction")


GivenSettings = Annotated[Mapping[str, Any], EditSettings, miniature_defaults]
"""Values of `EditSettings` that a user gives to a command whose networks are the miniature's by default."""
