"""Tensors that live in files, so that a clip's length costs disk and not memory."""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from keyface.files import require_space

Shape = tuple[int, ...]
Layout = Mapping[str, tuple[Shape, torch.dtype]]
"""Files by name: shape and type of the tensor in each."""


def layout_bytes(layout: Layout) -> int:
    """Return the bytes that the files take together."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in layout.values())


class MemoryMaps:
    """A folder of memory-mapped tensors; what is in it already is used as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._maps: dict[str, mmap.mmap] = {}

    def allocate(self, layout: Layout) -> dict[str, Tensor]:
        """Make all files of a layout, with their space reserved: writing into them cannot run out of disk.

        Raises:
            ValueError: The disk cannot hold them; nothing was written.
        """
        missing = {name: each for name, each in layout.items() if not (self.folder / name).exists()}
        require_space(self.folder, layout_bytes(missing), "the edit's temporary files")
        return {name: self.tensor(name, shape, dtype) for name, (shape, dtype) in layout.items()}

    def require(self, layout: Layout) -> None:
        """Refuse to go on with files that are not all there.

        Raises:
            ValueError: A file is missing or has another size.
        """
        for name, each in layout.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != layout_bytes({name: each}):
                raise ValueError(
                    f"{self.folder}: the stopped edit cannot go on, its file {name} is missing or damaged, "
                    "or another version of keyface began it; begin anew with --restart"
                )

    def tensor(self, name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the tensor in the file `name`, on the CPU, zeros if new; writing into it writes the file."""
        size, path = math.prod(shape) * dtype.itemsize, self.folder / name
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size != size:
                os.truncate(file, 0)
                os.posix_fallocate(file, 0, size)
            self._maps[name] = mmap.mmap(file, size)
        finally:
            os.close(file)
        return torch.frombuffer(self._maps[name], dtype=dtype).reshape(shape)

    def release(self) -> None:
        """Give the resident pages back; they stay in the system's cache, and come again when touched.

        Without this a process' resident memory grows with whatever it has ever touched of its files.
        """
        for each in self._maps.values():
            each.madvise(mmap.MADV_DONTNEED)

    def flush(self) -> None:
        """Write everything through to the disk."""
        for each in self._maps.values():
            each.flush()

    @classmethod
    @contextmanager
    def folder_in(cls, parent: Path | None) -> Iterator["MemoryMaps"]:
        """Make a folder inside `parent` (None: the system's); remove it at the end with all that is in it."""
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="keyface-", dir=parent) as folder:
            yield cls(Path(folder))
