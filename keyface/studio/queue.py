"""The queue: edits one at a time, each of which can be stopped, go on, and outlive the process."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from keyface.claims.claim import LeftError
from keyface.pipeline.stages import share_of
from keyface.progress import say
from keyface.studio.asking import request_of
from keyface.studio.engine import Engine
from keyface.studio.jobs import Job, read_jobs
from keyface.studio.limits import Limits
from keyface.studio.workspace import EDITS, FullError, Workspace, remove

_LOOKS_EVERY = 2.0
"""Seconds between two looks at the size of the workspace while an edit runs."""

_SHOWN = 400


class Queue:
    """Edits of a workspace. A process that ends, however it ends, loses none of them.

    Inside a `with` block a thread works on them. When the block ends, the one that runs is left as
    it is, and the next block goes on with it.

    Args:
        workspace: Where they are.
        engine: Makes them.
        limits: Of their number and their clips.
    """

    def __init__(self, workspace: Workspace, engine: Engine, limits: Limits) -> None:
        self.workspace, self.engine, self.limits = workspace, engine, limits
        self.edits = workspace.folder / EDITS
        found, faults = read_jobs(self.edits)
        for fault in faults:
            say(f"warning: {fault}")
        self._jobs = {job.id: job for job in found}
        for job in found:
            if job.state == "running":  # its process ended without a word
                job.state = "waiting"
        self._changed = threading.Condition()
        self._leaving: set[str] = set()
        self._ending = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Queue:
        """Begin to work."""
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="studio-queue")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the edit that runs, so that it can go on."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def jobs(self) -> list[Job]:
        """Return all edits, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def job(self, key: object) -> Job:
        """Return an edit.

        Raises:
            ValueError: There is none of this id.
        """
        with self._changed:
            found = self._jobs.get(key) if isinstance(key, str) else None
        if found is None:
            raise ValueError(f"{str(key)[:40]!r}: no such edit")
        return found

    def add(self, clip: Path, options: dict[str, Any]) -> Job:
        """Queue an edit, once all is checked that needs no networks.

        Raises:
            ValueError: Something does not fit, or too many edits wait, or the workspace is full.
        """
        job = Job.new(self.workspace.relative(clip), options)
        request_of(clip, job.folder(self.edits), options, self.limits)
        with self.workspace.room(clip.stat().st_size), self._changed:
            waiting = sum(each.state in ("waiting", "running") for each in self._jobs.values())
            if waiting >= self.limits.waiting:
                raise ValueError(f"{waiting} edits wait already, which is the most; try again later")
            job.save(self.edits)
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def stop(self, key: object) -> Job:
        """Stop an edit, or take it out of the queue; what is done of it stays.

        Raises:
            ValueError: There is none of this id.
        """
        job = self.job(key)
        with self._changed:
            if job.state == "waiting":
                self._become(job, "stopped")
            elif job.state == "running":
                self._leaving.add(job.id)
        return job

    def resume(self, key: object) -> Job:
        """Queue an edit that was stopped or failed; it goes on with what was done.

        Raises:
            ValueError: There is none of this id.
        """
        job = self.job(key)
        with self._changed:
            self._leaving.discard(job.id)
            if job.state in ("stopped", "failed"):
                self._become(job, "waiting")
        return job

    def remove(self, key: object) -> None:
        """Remove an edit with all its files.

        Raises:
            ValueError: There is none of this id, or it runs.
        """
        job = self.job(key)
        with self._changed:
            if job.state == "running":
                raise ValueError("this edit runs; stop it first")
            del self._jobs[job.id]
        remove(job.folder(self.edits))

    def clips(self) -> list[str]:
        """Return the names of the clips that edits need."""
        return [job.clip for job in self.jobs()]

    def _work(self) -> None:
        while (job := self._next()) is not None:
            with self.engine.turns.patient():
                self._run(job)

    def _next(self) -> Job | None:
        """Wait for an edit; return None at the end."""

        def first() -> Job | None:
            return next((job for job in self._jobs.values() if job.state == "waiting"), None)

        with self._changed:
            self._changed.wait_for(lambda: self._ending or first() is not None)
            return None if self._ending else first()

    def _run(self, job: Job) -> None:
        with self._changed:
            if self._ending or job.state != "waiting":
                return
            self._become(job, "running")
        try:
            line = self._edit(job)
        except LeftError:
            with self._changed:
                stopped = job.id in self._leaving
                self._leaving.discard(job.id)
                self._become(job, "stopped" if stopped else "waiting")
        except Exception as error:
            say(f"edit {job.id}: {error}")
            with self._changed:
                self._leaving.discard(job.id)
                self._become(job, "failed", told(error))
        else:
            with self._changed:
                self._leaving.discard(job.id)
                job.fraction = 1.0
                self._become(job, "done", line)

    def _edit(self, job: Job) -> str:
        """Make an edit, or go on with it; return its warnings."""
        clip = self.workspace.inside(self.workspace.folder / job.clip)
        request = request_of(clip, job.folder(self.edits), job.options, self.limits)
        if request.record.exists() and not request.state.exists():  # somebody else has ended it
            return ""
        looked = time.monotonic()

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal looked
            job.stage, job.fraction = stage, max(job.fraction, share_of(stage, done, total))
            if self._ending or self.engine.turns.wanted or job.id in self._leaving:
                raise LeftError
            if time.monotonic() - looked > _LOOKS_EVERY:
                looked = time.monotonic()
                if self.workspace.usage() > self.workspace.limit:
                    raise FullError("the workspace is full; remove edits, then let this one go on")

        record = self.engine.edit(job.id, request, progress)
        return "; ".join(record.sidecar["warnings"])

    def _become(self, job: Job, state: Any, line: str = "") -> None:
        job.state, job.line = state, line
        if state != "running":
            job.stage = ""
        try:
            job.save(self.edits)
        except OSError as error:  # a full disk: the edit stays, and the queue goes on
            say(f"warning: edit {job.id} is {state}, which cannot be noted: {error}")
        self._changed.notify_all()


def told(error: BaseException) -> str:
    """Return an error in one line; a LookupError without the quotes that `str` adds."""
    text = error.args[0] if isinstance(error, LookupError) and error.args else error
    return " ".join(str(text).split())[:_SHOWN] or type(error).__name__
