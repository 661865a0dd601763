"""A clip that this process has claimed: kept by a heart-beat, ended once."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from keyface.files import write_text


class LeftError(Exception):
    """This process is to leave the clip: it was cancelled, or another process has taken it over."""


def make_once(path: Path | str, content: Callable[[], Mapping[str, Any]] = dict) -> bool:
    """Make a file that no other process has made; say whether it is this process that did.

    The name comes before the content: who reads a file without content looks at its time instead.

    Args:
        path: The file.
        content: Returns what it says, as JSON; it is called where the file is made.
    """
    if os.path.lexists(path):  # which takes no lock of the folder, where others make their files
        return False
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(handle, json.dumps(content()).encode())
    finally:
        os.close(handle)
    return True


class Heart:
    """Renews the time of held claims, in one thread for all claims of a process.

    Args:
        seconds: Between two renewals.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held: set[Path] = set()
        self._thread: threading.Thread | None = None

    def hold(self, path: Path) -> None:
        """Renew a file from now on."""
        self._held.add(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="keyface heart-beat", daemon=True)
            self._thread.start()

    def let_go(self, path: Path) -> None:
        """Renew a file no more."""
        self._held.discard(path)

    def _beat(self) -> None:
        while True:
            time.sleep(self._seconds)
            for path in tuple(self._held):
                # The folder may have gone, or the disk be away for a while; `Claim.require` looks.
                with suppress(OSError):
                    os.utime(path)


class Claim:
    """One claim of one clip; while it is held, the time of its file is renewed.

    Attributes:
        key: The clip.
        number: Of the claim, from 1 on.
        taken_over: Whether the process that held the clip before ended without a word.

    Args:
        folder: Of the claims.
        heart: Of this process.
    """

    def __init__(self, folder: Path, key: str, number: int, taken_over: bool, heart: Heart) -> None:
        self.folder, self.key, self.number, self.taken_over = folder, key, number, taken_over
        self._heart = heart

    def file(self, kind: str, number: int | None = None) -> Path:
        """Return the name of a file of this claim, or of another claim of its clip."""
        return self.folder / f"{self.key}.{self.number if number is None else number}.{kind}"

    def hold(self) -> Claim:
        """Begin with the heart-beat."""
        self._heart.hold(self.file("claim"))
        return self

    @property
    def reason(self) -> str | None:
        """Return why the clip is to be left; None where it is not."""
        if self.file("stop").exists():
            return "cancelled"
        if not self.file("claim").exists() or self.file("claim", self.number + 1).exists():
            return "taken over by another process"
        return None

    def require(self) -> None:
        """Raise LeftError where the clip is to be left."""
        if (reason := self.reason) is not None:
            raise LeftError(reason)

    def finish(self, facts: Mapping[str, Any]) -> bool:
        """Mark the clip as done; say whether no other process had."""
        self._heart.let_go(self.file("claim"))
        return make_once(self.folder / f"{self.key}.done", lambda: facts)

    def fail(self, line: str) -> None:
        """End with an error."""
        self._end("failed", {"line": line})

    def release(self) -> None:
        """End without a result, as if the clip had not been claimed."""
        self._end("released")

    def cancel(self) -> None:
        """End because nobody wants the clip any more."""
        self._end("cancelled")

    def _end(self, kind: str, content: Mapping[str, Any] | None = None) -> None:
        self._heart.let_go(self.file("claim"))
        write_text(self.file(kind), json.dumps(content or {}))
