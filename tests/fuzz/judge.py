"""Judges how one input is read: no traceback, no hang, no leftovers, no canary, no memory above the bound."""

import os
import re
import resource
import shutil
import signal
import traceback
import warnings
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz.kinds import Kind
from fuzz.mutations import CANARY

SECONDS = 10
"""More time than this on a processor is a hang; on a busy machine the clock tells nothing."""

WAITING = 120
"""Seconds of the clock after which waiting is a hang, too."""

MEMORY = 2**30
"""Bytes by which reading any of these small inputs may enlarge the process."""

LONGEST = 1500
"""Characters of a message that is still one line which somebody reads."""

ADDRESS_SPACE = 6 * 2**30
"""What the process may map beyond what it has: an end for what would take the machine's memory."""


class HangError(BaseException):
    """Reading an input took too long."""


def fault_of(kind: Kind, data: bytes, place: Path) -> str | None:
    """Read an input, and return what was wrong with how it was read, or None.

    Args:
        kind: How it is read.
        data: The input.
        place: A folder of this process; it is emptied.
    """
    shutil.rmtree(place, ignore_errors=True)
    folder = place / "folder"
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    fault = None
    try:
        with _limits() as peak:
            fault = _read(kind, data, folder)
        if fault is None and peak():
            fault = f"memory grew by {peak() / 2**20:.0f} MiB; the bound is {MEMORY / 2**20:.0f}"
    finally:
        os.chdir(before)
    if any(path.name == CANARY for path in place.rglob("*")) or Path("/", CANARY).exists():
        return "a canary was made: the input was executed, or written outside its folder"
    left = [path.name for path in place.rglob("*") if re.search(r"\.part$|\.state$|^output", path.name)]
    return fault or (f"left behind: {', '.join(sorted(left))}" if left else None)


def _read(kind: Kind, data: bytes, folder: Path) -> str | None:
    from keyface.cli.messages import one_line, parsing_error

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(folder, data)
    except HangError:
        return f"no end after {SECONDS} s"
    except kind.refusals as error:
        message = parsing_error(str(error)) if isinstance(error, ArgumentError) else one_line(error)
        if len(message) > LONGEST:
            return f"{_where(error)}: a message of {len(message)} characters: {message[:200]} ..."
        if kind.named and str(folder) not in message:
            return f"{_where(error)}: the message does not name the file: {message[:300]}"
    except BaseException as error:
        return f"{_where(error)}: {type(error).__name__}: {str(error)[:300]}"
    return None


def _where(error: BaseException) -> str:
    """Return the innermost line of ours, and of anybody's, that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        each
        for each in frames
        if re.search(r"/(keyface|datamodules|plugins|lightning_modules)/", each.filename)
    ]
    ours = [each for each in ours if "site-packages" not in each.filename] or frames
    last = frames[-1]
    return f"{Path(ours[-1].filename).name}:{ours[-1].name} ({Path(last.filename).name}:{last.name})"


@contextmanager
def _limits() -> Iterator["_Peak"]:
    """Raise HangError in the block when it takes too long, and MemoryError when it maps too much."""

    def late(number: int, frame: object) -> None:
        raise HangError

    handlers = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = _status("VmSize")
    if mapped:
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE, hard))
    peak = _Peak()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    try:
        yield peak
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Peak:
    """Says by how much the process's memory grew beyond the bound since this was made; 0 if it did not."""

    def __init__(self) -> None:
        with suppress(OSError):  # sets the high-water mark to what is in use; Linux alone has it
            Path("/proc/self/clear_refs").write_text("5")
        self.began = _status("VmRSS")

    def __call__(self) -> int:
        grown = _status("VmHWM") - self.began
        return grown if grown > MEMORY else 0


def _status(name: str) -> int:
    """Return one of the sizes in /proc/self/status, in bytes; 0 where there is none."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
