"""Tensors that live in files, so that a clip's length costs disk and not memory."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor


class Scratch:
    """A folder of memory-mapped tensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """A zero tensor on the CPU in the file `name`; writing into it writes the file."""
        path = self.folder / name
        return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).reshape(shape)

    @classmethod
    @contextmanager
    def folder_in(cls, parent: Path | None) -> Iterator["Scratch"]:
        """A new folder inside `parent` (None: the system's), removed at the end with all that is in it."""
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="keyface-", dir=parent) as folder:
            yield cls(Path(folder))
