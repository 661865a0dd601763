"""Signals that end a program, as exceptions: what is half-written goes, as after any error."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from keyface.ending import SIGNALLED

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Sent by batch systems and `kill`, and by a terminal that closes."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end, as Ctrl-C does."""


class Stop:
    """Raise `Stopped` at a signal.

    While a fit runs, Lightning has its own handler before this one: it ends after the batch and saves where
    it stands. Then nothing is raised here, and the other signals become that one.

    Attributes:
        received: The signal that came; None as long as none did.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.received = self.received or signal.Signals(number)
        if signal.getsignal(signal.SIGTERM) is self:
            raise Stopped
        if number != signal.SIGTERM:
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def status(self) -> int:
        """Return what a shell says of a program that the signal ended."""
        return SIGNALLED + (self.received or signal.SIGINT)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield what signals are taken by until the block ends; those that are ignored (nohup) stay so.

    A command that runs another one, as `keyface caption` runs `lightning predict`, shares it with that one.
    Python has signals in its main thread alone; elsewhere nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    if isinstance(outer := before[signal.SIGTERM], Stop):
        yield outer
        return
    taken = [number for number, handler in before.items() if handler == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number in taken:
            signal.signal(number, before[number])
