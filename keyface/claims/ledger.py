"""Who edits which clip: processes on any machines agree on it by files in one folder, without talking.

A process claims a clip by making a file that can be made only once (`keyface.claims.state`). While it works
it renews the file's time. Where the time stands still, or the kernel says that the process is gone, another
one makes the next claim. Times are compared with that of a file that is touched just now in the same folder,
so that machines' clocks need not agree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyface.claims.claim import Claim, Heart, make_once
from keyface.claims.process import Process
from keyface.claims.state import MOST_DEATHS, History, State, histories
from keyface.untrusted import UntrustedError, read_json_object

HEARTBEAT = 10.0
"""Seconds between two renewals of a claim."""

PATIENCE = 90.0
"""Seconds without a renewal after which a claim on another machine may be taken over."""

_FIRST_LOOK, _LONGEST_LOOK = 0.1, 5.0
"""Seconds between two looks at what others do, which get longer."""


class Ledger:
    """The claims of a batch's clips.

    Args:
        folder: Of the claims, on a disk that all processes share.
        keys: The clips, in the order in which they shall be edited; a key has no dots.
        progress: Tells how far a clip has got, in any words; a process that dies where the words stayed the
            same was no further than the one before.
        heartbeat: Seconds between two renewals of a claim.
        patience: Seconds without a renewal after which a claim is taken over.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str],
        progress: Callable[[str], str] = lambda key: "",
        heartbeat: float = HEARTBEAT,
        patience: float = PATIENCE,
    ) -> None:
        self.folder, self.keys = folder, list(keys)
        self._progress, self._heart, self._patience = progress, Heart(heartbeat), patience
        self._process = Process.current()
        self._order = {key: place for place, key in enumerate(self.keys)}
        self._next: Iterator[tuple[str, History]] = iter(())
        self._finished = False
        folder.mkdir(parents=True, exist_ok=True)

    def histories(self) -> Mapping[str, History]:
        """Return what has happened to each clip."""
        return histories(self.folder, self.keys)

    def states(self) -> dict[str, State]:
        """Return the state of each clip."""
        return {key: history.state for key, history in self.histories().items()}

    def claim(self, stopping: Callable[[], bool] = lambda: False) -> Claim | None:
        """Claim the next clip, or wait until others are done with theirs.

        Args:
            stopping: Asked while there is nothing to do.

        Returns:
            The claim, with its heart-beat; None where no clip is left, or this process is to stop.
        """
        pause = _FIRST_LOOK
        while not stopping():
            if (claim := self.claim_now()) is not None:
                return claim
            if self._finished:
                return None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)
        return None

    def claim_now(self) -> Claim | None:
        """Claim the next clip; return None where none is free."""
        for fresh in (False, True):
            if fresh:
                self._next = iter(self._free())
            # What was free at the last look may be taken by now, which making the file tells.
            for key, history in self._next:
                if (claim := self._try(key, history)) is not None:
                    return claim
        return None

    def take(self, key: str) -> Claim | None:
        """Claim a certain clip without a heart-beat; return None where it is not free."""
        history = self.histories()[key]
        if not self._is_free(key, history):
            return None
        return self._make(key, history)

    def stop(self, key: str) -> bool:
        """Ask for a running clip to be left; say whether it is a running one."""
        history = self.histories()[key]
        if history.state != "running":
            return False
        make_once(self._file(key, history.top, "stop"))
        return True

    def forgive(self, key: str) -> bool:
        """Let a clip that was set aside or cancelled wait again; say whether it is such a one."""
        history = self.histories()[key]
        if history.state not in ("aside", "cancelled"):
            return False
        if history.state == "aside":  # what it left may be the reason
            (self.folder / f"{key}.begun").unlink(missing_ok=True)
        make_once(self._file(key, history.top, "retry"))
        return True

    def content(self, key: str, number: int, kind: str) -> dict[str, Any]:
        """Return what a file of a claim says; nothing where it says nothing, or is not there."""
        return _content(self._file(key, number, kind))

    def result(self, key: str) -> dict[str, Any]:
        """Return what is noted of a clip that is done."""
        return _content(self.folder / f"{key}.done")

    def silence(self, key: str, number: int) -> float:
        """Return for how many seconds a claim was not renewed; 0 where it is gone."""
        try:
            return self._now() - self._file(key, number, "claim").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _free(self) -> list[tuple[str, History]]:
        """Return the clips that can be claimed: those that failed or ended a process come last."""
        found, self._finished = [], True
        for key, history in self.histories().items():
            if (state := history.state) not in ("done", "aside", "cancelled"):
                self._finished = False
                if state == "waiting" or self._is_stale(key, history.top):
                    found.append((key, history))
        return sorted(found, key=lambda each: (each[1].failures + each[1].deaths, self._order[each[0]]))

    def _is_free(self, key: str, history: History) -> bool:
        state = history.state
        return state == "waiting" or (state == "running" and self._is_stale(key, history.top))

    def _is_stale(self, key: str, number: int) -> bool:
        process = Process.read(self.content(key, number, "claim"))
        if process is not None and process.is_here():
            return process.is_gone()
        return self.silence(key, number) > self._patience

    def _try(self, key: str, history: History) -> Claim | None:
        """Make a claim, unless the clip needs no more work."""
        claim = self._make(key, history)
        if claim is None:
            return None
        if (self.folder / f"{key}.done").exists():  # by its former holder, just now
            claim.release()
            return None
        if history.has("stop", history.top) and claim.taken_over:
            claim.cancel()
            return None
        if history.deaths + self._died(history, claim) >= MOST_DEATHS:
            claim.release()
            return None
        return claim.hold()

    def _make(self, key: str, history: History) -> Claim | None:
        """Make the next claim of a clip; None where another process has just made it."""
        number = history.top + 1

        def content() -> dict[str, Any]:
            return {**self._process.facts(), "progress": self._progress(key), "began": time.time()}

        if not make_once(f"{self.folder}/{key}.{number}.claim", content):
            return None
        return Claim(self.folder, key, number, history.state == "running", self._heart)

    def _died(self, history: History, claim: Claim) -> bool:
        """Tell whether the process before ended without a word and without progress, and note it."""
        if not claim.taken_over:
            return False
        before, now = (
            self.content(claim.key, number, "claim").get("progress") for number in (history.top, claim.number)
        )
        return before == now and make_once(claim.file("died", history.top))

    def _file(self, key: str, number: int, kind: str) -> Path:
        return self.folder / f"{key}.{number}.{kind}"

    def _now(self) -> float:
        """Return the time by the clock of the disk."""
        probe = self.folder / f"clock-{self._process.host}-{os.getpid()}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def _content(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except (FileNotFoundError, UntrustedError):
        return {}
