"""A studio that runs as users run it: `keyface studio` in a process of its own, on a free port."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON, find_person
from keyface.plugins import edits
from keyface.video import write_clip

_STARTED = re.compile(r"the studio is at (http://\S+?/)(\?token=(\S+?))?; Ctrl-C ends it")
_PATIENCE = 120


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

    threading.Thread(target=read, daemon=True).start()
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


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of somebody without glasses: 4 frames of 64 pixels."""
    identity = find_person(
        edits.select(["glasses"]), FIRST_PERSON, 0, also={"Male": True, "Wearing_Hat": False}
    )
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    write_clip(path, [render_images(draw_clip(identity, 0, 4, 12), 64)], Fraction(12))
    return path


@pytest.fixture(scope="session")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two people side by side: 3 frames of 128 by 256 pixels."""
    frames = [render_images(draw_clip(FIRST_PERSON + each, 0, 3, 12), 128) for each in (107, 69)]
    path = tmp_path_factory.mktemp("clips") / "two people.mp4"
    write_clip(path, [torch.cat(frames, dim=3)], Fraction(12))
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio with a workspace of 60 MB, uploads of 3 MB and clips of 10 s."""
    pytest.importorskip("gradio", reason="the extra `studio` is not installed")
    limits = {"workspace_gb": 0.06, "upload_gb": 0.003, "seconds": 10, "rate": 100000}
    words = [word for name, value in limits.items() for word in (f"--limits.{name}", str(value))]
    with serving(tmp_path_factory.mktemp("studio") / "workspace", *words) as found:
        yield found


Serve = Callable[..., Served]
