"""Ways to disturb a process at some moment: signals, disks that are full or fail, too little memory."""

import errno
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from forks import Fork

WHOLE_DISK = 2**29
"""Bytes of the disk on which nothing runs out."""


class Course(NamedTuple):
    """What an undisturbed run was like.

    Attributes:
        seconds: How long it took.
        writes: Calls that wrote below its folder.
        reads: Calls that read there.
        disk: Most bytes below its folder, and bytes at the beginning.
        memory: Most bytes mapped, and bytes when it began to work.
    """

    seconds: float
    writes: int
    reads: int
    disk: tuple[int, int]
    memory: tuple[int, int]


class Ended(NamedTuple):
    """How a disturbed run ended."""

    status: int
    said: str


@dataclass(frozen=True)
class Disturbance:
    """One way to disturb.

    Attributes:
        name: Of the way.
        number: The signal that is sent at the moment, if any.
        error: The error number of a failing disk, if any, and which calls fail ("w" or "r").
        full: Whether the disk is full at the moment.
        memory: Whether memory ends at the moment.
    """

    name: str
    number: signal.Signals | None = None
    error: tuple[int, str] | None = None
    full: bool = False
    memory: bool = False

    @property
    def must_be_told(self) -> bool:
        """Whether it is to say in one line what happened; after SIGKILL, or without memory, it may not."""
        return self.number != signal.SIGKILL and not self.memory


DISTURBANCES = (
    Disturbance("SIGKILL", signal.SIGKILL),
    Disturbance("SIGTERM", signal.SIGTERM),
    Disturbance("Ctrl-C", signal.SIGINT),
    Disturbance("full disk", full=True),
    Disturbance("ENOSPC", error=(errno.ENOSPC, "w")),
    Disturbance("EIO", error=(errno.EIO, "w")),
    Disturbance("EIO while reading", error=(errno.EIO, "r")),
    Disturbance("no memory", memory=True),
)


class Disk:
    """A small disk of its own, for a job's folder; where none can be mounted, the folder as it is.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={WHOLE_DISK}", "keyface-chaos", str(folder)]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0

    def resize(self, size: int) -> None:
        """Make it larger or smaller than what is on it."""
        size = max(size, 4096)
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)

    @property
    def used(self) -> int:
        """Bytes that are used."""
        if not self.mounted:
            return sum(map(_size, self.folder.rglob("*")))
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def close(self) -> None:
        """Take it away with all that is on it."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def _size(path: Path) -> int:
    """Return the bytes of a file that may be gone by now."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def disk_at(folder: Path) -> Iterator[Disk]:
    """Have a disk of its own at a folder inside the block."""
    disk = Disk(folder)
    try:
        yield disk
    finally:
        disk.close()


def watch(words: list[str], disk: Disk, environment: Mapping[str, str]) -> tuple[Ended, Course]:
    """Run a command undisturbed, and say what it was like."""
    counter = disk.folder.parent / "calls"
    used = most = disk.used
    first = largest = 0
    began = time.monotonic()
    process = Fork(words, {**environment, **_failing(disk, counter)})
    while process.poll() is None:
        most = max(most, disk.used)
        largest = max(largest, mapped := _mapped(process.process.pid))
        first = first or mapped
        process.process.join(0.005)
    seconds = time.monotonic() - began
    ended = process.wait(1)
    course = Course(seconds, *_counted(counter), (most, used), (largest, first))
    return Ended(ended.returncode, ended.stdout + ended.stderr), course


def disturb(
    how: Disturbance,
    moment: float,
    words: list[str],
    disk: Disk,
    course: Course,
    environment: Mapping[str, str],
) -> Ended:
    """Run a command that is disturbed.

    Args:
        how: In which way.
        moment: When, from 0 at its beginning to 1 at its end.
        words: The command.
        disk: On which it works.
        course: What it is like undisturbed.
        environment: Variables of the command.
    """
    limits: dict[int, int] = {}
    counter = disk.folder.parent / "calls"
    variables = {**environment, **_failing(disk, counter)}
    if how.memory:
        most, least = course.memory
        limits[resource.RLIMIT_AS] = int(least + moment * (most - least))
    if how.full:
        most, least = course.disk
        if disk.mounted:
            disk.resize(disk.used + int(moment * (most - least)))
        else:  # no file may become larger than so much
            limits[resource.RLIMIT_FSIZE] = 4096 + int(moment * (most - least))
    if how.error:
        number, call = how.error
        calls = course.writes if call == "w" else course.reads
        variables |= _failing(disk, counter, max(1, round(moment * calls)), number, call)
    process = Fork(words, variables, limits=limits)
    if how.number is not None:
        _wait_until(process, counter, moment, course)
        if process.poll() is None:
            process.send_signal(how.number)
    ended = process.wait(120)
    if how.full and disk.mounted:
        disk.resize(WHOLE_DISK)
    return Ended(ended.returncode, ended.stdout + ended.stderr)


def _wait_until(process: Fork, counter: Path, moment: float, course: Course) -> None:
    """Wait until a process has made its share of the calls, and then a share of the time between two calls.

    How long it takes depends on what else the machine does; the calls are the same each time.
    """
    calls = course.writes + course.reads
    while process.poll() is None and sum(_counted(counter)) < int(moment * calls):
        time.sleep(0.001)
    process.process.join(moment * calls % 1 * course.seconds / max(calls, 1))


def _counted(counter: Path) -> tuple[int, int]:
    """Return how many calls wrote and how many read."""
    calls = counter.read_bytes()
    return int.from_bytes(calls[:8], "little"), int.from_bytes(calls[8:], "little")


def _failing(disk: Disk, counter: Path, at: int = 2**40, error: int = 0, call: str = "w") -> dict[str, str]:
    """Return the variable of failing_disk.c, which counts from 0; nothing fails by default."""
    counter.write_bytes(bytes(16))
    return {"KEYFACE_DISK": f"{disk.folder}|{counter}|{at}|{error}|{call}"}


def _mapped(pid: int | None) -> int:
    """Return the bytes that a process has mapped; 0 when it is gone."""
    try:
        found = re.search(r"^VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
