"""How networks edit by default: `edit.yaml` beside their weights. Imports nothing heavy, for `--help`."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from keyface.editing.settings import EditSettings
from keyface.untrusted import read_yaml

DEFAULTS = "edit.yaml"
"""File beside the weights of a backbone: values of `EditSettings` with which it edits best."""


def defaults_of(source: Path | None) -> EditSettings:
    """Return how a backbone edits by default: as the `edit.yaml` in the folder of its weights says.

    Args:
        source: That folder. A single file of weights, and None, have the defaults of `EditSettings`.

    Raises:
        ValueError: The file is damaged, or a value does not fit.
    """
    file = None if source is None else source / DEFAULTS
    if file is None or not file.is_file():
        return EditSettings()
    return EditSettings().with_values(read_yaml(file), str(file))


def miniature_defaults() -> EditSettings:
    """Return how the miniature edits by default, without reading its networks."""
    return defaults_of(Path(str(files("keyface.miniature"))) / "weights" / "base")


GivenSettings = Annotated[Mapping[str, Any], EditSettings, miniature_defaults]
"""Values of `EditSettings` that a user gives to a command whose networks are the miniature's by default."""
