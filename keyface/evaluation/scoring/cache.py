"""What was computed before, on disk, so that an interrupted evaluation goes on where it was."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from keyface.evaluation.files import digest
from keyface.files import write_bytes
from keyface.untrusted import UntrustedError, finite_number, read_json_object

VERSION = 1
"""Raised when scores are computed differently, so that old ones are not taken for new ones."""


class ScoreCache:
    """Keep numbers and tensors by what they were made from.

    Args:
        folder: Made when something is first kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def numbers(self, made_from: Mapping[str, Any], make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return the numbers kept for this, or newly made and kept.

        Args:
            made_from: All that they depend on, as JSON takes it.
            make: Makes them.
        """
        path = self._path(made_from, ".json")
        if path is not None and path.is_file():
            try:
                return {
                    name: finite_number(value, f"{path}: {name}")
                    for name, value in read_json_object(path)["numbers"].items()
                }
            except (UntrustedError, KeyError, AttributeError):
                pass  # damaged on disk: made anew
        made = make()
        if path is not None:
            # `made_from` is written for people who wonder what a file is.
            content = {"made_from": made_from, "numbers": made}
            write_bytes(path, json.dumps(content, indent=1, default=str, allow_nan=False).encode())
        return made

    def tensors(
        self, made_from: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the tensors kept for this, or newly made and kept; the arguments are those of `numbers`."""
        path = self._path(made_from, ".safetensors")
        if path is not None and path.is_file():
            try:
                return load(path.read_bytes())
            except SafetensorError:
                pass  # damaged on disk: made anew
        made = {name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}
        if path is not None:
            write_bytes(path, save(made))
        return made

    def _path(self, made_from: Mapping[str, Any], suffix: str) -> Path | None:
        if self.folder is None:
            return None
        name = digest({"version": VERSION, **made_from})
        return self.folder / name[:2] / f"{name}{suffix}"
