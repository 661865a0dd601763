"""The one folder that the studio reads and writes, with a limit of its size."""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from keyface.files import require_folder

EDITS = "edits"
"""Folder of the edits, each with a folder of its own."""

PICTURES = "pictures"
"""Folder of previews and people, which can be made again."""

BUILT_IN = "built-in"
"""Folder of the clip that comes along."""

KEPT_SECONDS = 3600.0
"""How long an upload that no edit uses, and a picture, is kept at least."""

_UPLOAD = re.compile(r"[0-9a-f]{64}")
"""Gradio puts an upload into a folder that is named by its SHA-256."""

_BROKEN = re.compile(r"tmp[a-z0-9_]+")
"""Where Gradio writes an upload until it is complete."""


class FullError(ValueError):
    """The workspace has no room for what is asked for."""


class Workspace:
    """A folder with uploads, edits and pictures.

    Attributes:
        folder: The folder, resolved; made if need be.
        limit: Most bytes of all its files.

    Raises:
        ValueError: The folder cannot be made or written into.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        require_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.limit = folder.resolve(), limit
        self._reserved = 0
        self._lock = threading.Lock()

    def usage(self) -> int:
        """Return the bytes of all files in the folder; links are not followed."""
        total = 0
        for place, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(place, name)).st_size
                except FileNotFoundError:  # an edit has just ended
                    continue
        return total

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Keep so many bytes free for what the block writes, whoever else writes meanwhile.

        Raises:
            FullError: There are not so many.
        """
        with self._lock:
            used = self.usage() + self._reserved
            if used + size > self.limit:
                raise FullError(
                    f"the workspace holds {used / 1e6:,.1f} of {self.limit / 1e6:,.1f} MB, and "
                    f"{size / 1e6:,.1f} MB more do not fit; remove edits that are not needed any more"
                )
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size

    def inside(self, path: Path | str) -> Path:
        """Return the path of an upload, an edit's file or a picture, with all links resolved.

        Raises:
            ValueError: It is none of these, also where it lies in the folder: whoever gives the studio a
                folder with other files does not show these.
        """
        text = str(path)
        try:
            found = Path(text).resolve(strict=True)
            regular = stat.S_ISREG(found.stat().st_mode)
        except (OSError, ValueError, RuntimeError):  # ValueError: a zero byte; RuntimeError: a loop of links
            regular, found = False, Path()
        if not regular or not self._is_ours(found):
            raise ValueError(f"{Path(text).name or text!r}: no such file in the workspace; upload it first")
        return found

    def _is_ours(self, path: Path) -> bool:
        if not path.is_relative_to(self.folder):
            return False
        place, *rest = path.relative_to(self.folder).parts
        return bool(rest) and (place in (EDITS, PICTURES, BUILT_IN) or _UPLOAD.fullmatch(place) is not None)

    def relative(self, path: Path) -> str:
        """Return the name of a file in the folder, relative to it."""
        return path.relative_to(self.folder).as_posix()

    def tidy(self, used: Collection[str], kept_seconds: float = KEPT_SECONDS) -> None:
        """Remove old uploads that no edit uses, broken ones, and pictures that can be made again.

        Args:
            used: Relative names of the clips that are still needed.
            kept_seconds: What is younger stays.
        """
        oldest = time.time() - kept_seconds
        needed = {name.partition("/")[0] for name in used}
        places = [each for each in self.folder.iterdir() if each.name not in needed]
        disposable = [each for each in places if _UPLOAD.fullmatch(each.name) or _BROKEN.fullmatch(each.name)]
        pictures = self.folder / PICTURES
        disposable += pictures.iterdir() if pictures.is_dir() else ()
        for each in disposable:
            try:
                if each.lstat().st_mtime < oldest:
                    remove(each)
            except FileNotFoundError:
                continue


def remove(place: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
