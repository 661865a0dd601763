"""The folder of an edit that may be killed: its files, its journal, and what it is an edit of."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keyface.diffusion.journal import Journal
from keyface.diffusion.scratch import Scratch
from keyface.files import write_text

_REQUEST, _JOURNAL, _LOCK = "request.json", "journal.json", "lock"
_SHOWN = 5


class State:
    """A folder that outlives the process.

    Attributes:
        folder: the folder.
        resumed: whether an earlier process has worked in it.
        scratch: its files.
        journal: what is done.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        self.folder, self.resumed = folder, resumed
        self.scratch = Scratch(folder)
        self.journal = Journal(folder / _JOURNAL, before=self.scratch.flush)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, request: Mapping[str, Any]) -> Iterator["State"]:
        """Make the folder, or go on with what is in it.

        It is removed when the block ends without an error, or with one before anything was done.

        Args:
            folder: nobody else's; made if need be.
            request: everything that decides the frames, as JSON can say it.

        Raises:
            ValueError: The folder is of an edit of something else, with the difference shown, or another
                process works in it.
        """
        wanted: dict[str, Any] = json.loads(json.dumps(request, default=str))
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{folder}: another process is at work on this edit") from None
            known = folder / _REQUEST
            resumed = known.is_file()
            if resumed:
                _compare(folder, json.loads(known.read_bytes()), wanted)
            else:
                write_text(known, json.dumps(wanted, indent=1))
            state = cls(folder, resumed)
            try:
                yield state
            except BaseException:
                if not state.journal.begun:
                    shutil.rmtree(folder)
                raise
            shutil.rmtree(folder)


def discard(folder: Path) -> None:
    """Remove the folder of a stopped edit, if there is one.

    Raises:
        ValueError: There is something else under the name.
    """
    if not folder.exists():
        return
    if not (folder / _LOCK).is_file():
        raise ValueError(f"{folder}: not the folder of a stopped edit, and not removed; move it away")
    shutil.rmtree(folder)


def _compare(folder: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before, now = _flat(known), _flat(wanted)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        told = "; ".join(f"{n} was {before.get(n)!r} and is now {now.get(n)!r}" for n in names[:_SHOWN])
        more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ValueError(
            f"{folder}: holds a stopped edit of something else: {told}{more}; repeat the command that was "
            "stopped, or begin anew with --restart"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
