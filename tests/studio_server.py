"""A studio that runs as users run it: `keyface studio` in a process of its own, on a free port."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STARTED = re.compile(r"the studio is at (http://\S+?/)(\?token=(\S+?))?; Ctrl-C ends it")
_PATIENCE = 600


@dataclass
class Served:
    """A studio that runs.

    Attributes:
        url: Its address, without the token.
        token: Its token, if it has one.
        workspace: Its folder.
        process: Its process.
    """

    url: str
    token: str | None
    workspace: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Return its port."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    def memory(self) -> int:
        """Return the bytes that its process has resident."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def serving(workspace: Path, *words: str) -> Iterator[Served]:
    """Run `keyface studio` until the block ends, and see that SIGTERM ends it in good order."""
    command = [sys.executable, "-P", "-m", "keyface", "studio", "--workspace", str(workspace), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *words], stderr=subprocess.PIPE, text=True, env=environment, cwd=workspace.parent
    )
    lines: queue.Queue[str | None] = queue.Queue()
    said: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while (line := lines.get(timeout=_PATIENCE)) is not None:
            if (found := _STARTED.search(line)) is not None:
                break
        else:
            raise AssertionError("".join(said))
        yield Served(found[1], found[3], workspace, process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE) in (143, -signal.SIGKILL), "".join(said)
        assert "Traceback" not in "".join(said), "".join(said)
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
