"""Which process holds a clip, and whether the kernel knows that it is gone."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One run of a program.

    Attributes:
        host: Name of its machine.
        pid: Its number there.
        kernel: One start of one machine and, in containers, one space of numbers: only within it do numbers
            name processes. Empty where that is not known.
        started: When the kernel started it, in ticks: numbers are used again.
    """

    host: str
    pid: int
    kernel: str = ""
    started: str = ""

    @classmethod
    def current(cls) -> Process:
        """Return this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _kernel(), _life(pid)[1])

    @classmethod
    def read(cls, content: Any) -> Process | None:
        """Return the process that a claim names; None where it is not readable, or not yet written."""
        try:
            return cls(str(content["host"]), int(content["pid"]), content["kernel"], content["started"])
        except (KeyError, TypeError, ValueError):
            return None

    def facts(self) -> dict[str, Any]:
        """Return what `read` takes."""
        return asdict(self)

    def is_here(self) -> bool:
        """Tell whether the kernel of this process can say if that one lives."""
        return bool(self.kernel) and self.kernel == _kernel()

    def is_gone(self) -> bool:
        """Tell whether it certainly ended: it ran here, and nothing alive has its number and start."""
        if not self.is_here():
            return False
        state, started = _life(self.pid)
        return state in ("", "Z", "X") or started != self.started


def _kernel() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _life(pid: int) -> tuple[str, str]:
    """Return a process' state, such as R, and when it started; nothing where there is no such process."""
    try:
        # The name, in brackets, may hold brackets; what follows the last one is numbered from 3 on.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
