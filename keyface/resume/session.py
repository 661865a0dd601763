"""The folder of an edit that may be killed: its files, its journal, and what it is an edit of."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from keyface.files import write_text
from keyface.resume.journal import Journal, read_json
from keyface.resume.memory_maps import MemoryMaps

_REQUEST, _JOURNAL, _LOCK = "request.json", "journal.json", "lock"
_SHOWN = 5


class Session:
    """A folder that outlives the process.

    Attributes:
        folder: The folder.
        resumed: Whether the work of an earlier process goes on.
        found: Whether an earlier process has worked in it.
        maps: Its files.
        journal: What is done.
        parts: What `part` made.

    Args:
        owned: Says whether the folder is still the one that this process locked. Every entry of the journal
            asks first: someone may have removed the folder, and another process made a new one.
        whole: The folder that is owned, of which this is a part; None if it is the whole.
    """

    def __init__(
        self, folder: Path, resumed: bool, owned: Callable[[], bool], whole: Path | None = None
    ) -> None:
        self.folder, self.resumed, self._owned = folder, resumed, owned
        self._whole = folder if whole is None else whole
        self.found = resumed
        self.maps = MemoryMaps(folder)
        self.journal = Journal(folder / _JOURNAL, before=self._before_entry)
        self.parts: list[Session] = []

    @property
    def lock(self) -> tuple[int, int]:
        """Return what tells this folder's lock from another one of the same name."""
        return _file_id(self._whole / _LOCK)

    @property
    def begun(self) -> bool:
        """Whether anything is done, here or in a part."""
        return self.journal.begun or any(part.begun for part in self.parts)

    def part(self, name: str) -> "Session":
        """Return a session of one part of the work, with files and a journal in a folder inside."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.parts.append(Session(folder, self.resumed, self._owned, self._whole))
        return self.parts[-1]

    @classmethod
    def joined(cls, folder: Path, lock: tuple[int, int], *, resumed: bool) -> "Session":
        """Return a session for a process that helps the one which has opened the folder.

        Only parts that nobody else works in are written by it, and it ends before the other one does.

        Args:
            folder: The folder.
            lock: `lock` of the session that opened it.
            resumed: As of that session.
        """

        def owned() -> bool:
            try:
                return _file_id(folder / _LOCK) == lock
            except (FileNotFoundError, NotADirectoryError):
                return False

        return cls(folder, resumed, owned)

    def _before_entry(self) -> None:
        if not self._owned():
            raise ValueError(
                f"{self._whole}: was removed or replaced while this edit worked in it; the edit is stopped, "
                "repeat the command"
            )
        self.maps.flush()

    @classmethod
    @contextmanager
    def open(cls, folder: Path, request: Mapping[str, Any], *, restart: bool = False) -> Iterator["Session"]:
        """Make the folder, or go on with what is in it.

        It is removed when the block ends without an error, or with one before anything was done; never if it
        is another process' by then.

        Args:
            folder: Nobody else's; made if need be.
            request: Everything that decides the frames, as JSON can say it.
            restart: Begin anew, whatever a stopped edit left.

        Raises:
            ValueError: The folder is of an edit of something else, with the difference shown, or of no edit;
                another process works in it; or, while this one does, it was removed or replaced.
        """
        wanted: dict[str, Any] = json.loads(json.dumps(request, default=str))
        _make(folder)
        with _locked(folder) as owned:
            known = folder / _REQUEST
            found = known.is_file()
            resumed = found and not restart
            if resumed and read_json(known) != wanted and not _begun(folder):
                resumed = False  # a start that was killed before it had done anything holds nobody up
            if resumed:
                _compare(folder, read_json(known), wanted)
            else:
                _clear(folder)
                write_text(known, json.dumps(wanted, indent=1))
            session = cls(folder, resumed, owned)
            session.found = found
            try:
                yield session
            except BaseException:
                if not session.begun and owned():
                    _remove(folder)
                raise
            if owned():
                _remove(folder)


def require_free(folder: Path) -> None:
    """Refuse, before anything slow, a folder that `Session.open` would refuse whatever the request.

    Raises:
        ValueError: There is something else under the name, or another process works in it.
    """
    if folder.exists() and not _is_empty(folder):
        with _locked(folder):
            pass


def take_from_others(folder: Path) -> None:
    """Put another lock in place of a stopped edit's, which is free then.

    Whoever still worked in the folder, on a machine that was thought dead, is told at the next entry of the
    journal and stops. Nothing is done where there is no such folder.
    """
    if (folder / _LOCK).is_file():
        write_text(folder / _LOCK, "")


def _file_id(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _make(folder: Path) -> None:
    """Make the folder with its lock file, or leave the one that is there.

    An empty one is taken: another process has just made it, or is about to remove it, and the lock decides
    who works in it.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not _is_empty(folder):
            return
    with suppress(FileNotFoundError):  # removed meanwhile, which `_locked` tells
        (folder / _LOCK).touch()


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        return True


@contextmanager
def _locked(folder: Path) -> Iterator[Callable[[], bool]]:
    """Lock the folder, and give a function that says whether it is still the one that was locked."""
    path = folder / _LOCK
    try:
        lock = path.open("r+")
    except (FileNotFoundError, NotADirectoryError):
        if _is_empty(folder):
            raise ValueError(f"{folder}: another process has just removed it; repeat the command") from None
        raise ValueError(
            f"{folder}: not the folder of a stopped edit, and not touched; move it away"
        ) from None
    with lock:
        mine = os.fstat(lock.fileno())

        def owned() -> bool:
            try:
                return os.path.samestat(path.stat(), mine)
            except (FileNotFoundError, NotADirectoryError):
                return False

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder}: another process is at work on this edit; wait until it ends"
            ) from None
        if not owned():
            raise ValueError(f"{folder}: another process has just removed it; repeat the command")
        yield owned


def _clear(folder: Path) -> None:
    """Empty the folder but for its lock; what is left without a request is never gone on with."""
    (folder / _REQUEST).unlink(missing_ok=True)
    for each in folder.iterdir():
        if each.name != _LOCK:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def _remove(folder: Path) -> None:
    """Remove the folder; its lock goes last, so that until then nobody else takes it for theirs."""
    _clear(folder)
    (folder / _LOCK).unlink()
    try:
        folder.rmdir()
    except OSError as error:  # another process may have taken the empty folder, and removed it, too
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _begun(folder: Path) -> bool:
    """Whether a journal, of the whole or of a part, says that anything is done that would be lost."""
    journals = (path for place in (folder, *folder.iterdir()) if (path := place / _JOURNAL).is_file())
    return any(Journal(path).begun for path in journals)


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
