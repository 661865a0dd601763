"""A clip that this process has claimed: kept by a heart-beat, ended once."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from keyface.files import write_text

NOTHING: Mapping[str, Any] = MappingProxyType({})


class LeftError(Exception):
    """This process is to leave the clip: it was cancelled, or another process has taken it over."""


def make_once(path: Path, content: Mapping[str, Any] = NOTHING) -> bool:
    """Make a file that no other process has made; say whether it is this process that did.

    The name comes before the content: who reads a file without content looks at its time instead.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(handle, json.dumps(content).encode())
    finally:
        os.close(handle)
    return True


class Claim:
    """One claim of one clip; while it is held, the time of its file is renewed.

    Attributes:
        key: The clip.
        number: Of the claim, from 1 on.
        taken_over: Whether the process that held the clip before ended without a word.

    Args:
        folder: Of the claims.
        heartbeat: Seconds between renewals.
    """

    def __init__(self, folder: Path, key: str, number: int, taken_over: bool, heartbeat: float) -> None:
        self.folder, self.key, self.number, self.taken_over = folder, key, number, taken_over
        self._heartbeat = heartbeat
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def file(self, kind: str, number: int | None = None) -> Path:
        """Return the name of a file of this claim, or of another claim of its clip."""
        return self.folder / f"{self.key}.{self.number if number is None else number}.{kind}"

    def hold(self) -> Claim:
        """Begin with the heart-beat."""
        self._thread = threading.Thread(target=self._beat, name=f"keyface claim {self.key}", daemon=True)
        self._thread.start()
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
        self._stop()
        return make_once(self.folder / f"{self.key}.done", facts)

    def fail(self, line: str) -> None:
        """End with an error."""
        self._end("failed", {"line": line})

    def release(self) -> None:
        """End without a result, as if the clip had not been claimed."""
        self._end("released")

    def cancel(self) -> None:
        """End because nobody wants the clip any more."""
        self._end("cancelled")

    def _end(self, kind: str, content: Mapping[str, Any] = NOTHING) -> None:
        self._stop()
        write_text(self.file(kind), json.dumps(content))

    def _stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            try:
                os.utime(self.file("claim"))
            except OSError:  # the folder went, or the disk is away for a while; `require` looks
                continue
