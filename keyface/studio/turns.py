"""Who computes: one at a time, and what somebody waits for goes before what runs for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Turns on the one device. Long work looks at `wanted` and stops when somebody waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy = False
        self._urgent = 0

    @property
    def wanted(self) -> bool:
        """Return whether somebody waits who goes first."""
        return self._urgent > 0

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Take the next turn."""
        with self._condition:
            self._urgent += 1
            try:
                self._condition.wait_for(lambda: not self._busy)
            except BaseException:
                self._urgent -= 1
                raise
            self._busy = True
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                self._urgent -= 1
                self._condition.notify_all()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Take a turn when nobody else wants one."""
        with self._condition:
            self._condition.wait_for(lambda: not self._busy and not self._urgent)
            self._busy = True
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
