"""The studio under load: many at once, some cancelled, some broken; KEYFACE_STUDIO_REQUESTS says how many."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from studio_server import Served, serving

from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON
from keyface.video import write_clip

gradio_client = pytest.importorskip("gradio_client", reason="the extra `studio` is not installed")

REQUESTS = int(os.environ.get("KEYFACE_STUDIO_REQUESTS", "10"))
AT_ONCE = 10
GROWTH = 64 * 2**20
"""Bytes that memory may grow between a third of the edits and the last."""

TINY = {"edits": ["glasses"], "steps": 2}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame and another of 64 pixels."""
    path = tmp_path_factory.mktemp("clips") / "tiny.mp4"
    write_clip(path, [render_images(draw_clip(FIRST_PERSON + 107, 0, 2, 12), 64)], Fraction(12))
    return path


def client_of(served: Served) -> Any:
    return gradio_client.Client(served.url, verbose=False, analytics_enabled=False)


def broken_upload(served: Served) -> None:
    """Say that a file comes, and leave in its middle."""
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 90000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; "
        'name="files"; filename="half.mp4"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(head.encode() + b"x" * 40_000)


def one(served: Served, client: Any, clip: Path, number: int) -> tuple[str, str]:
    """Send a request; return what it was, and the edit's id if there is one."""
    kind = ("edit", "edit", "broken", "edit", "cancelled", "edit", "no clip", "edit", "edit", "edit")[
        number % 10
    ]
    if kind == "broken":
        broken_upload(served)
        return kind, ""
    if kind == "no clip":
        text = clip.with_name(f"text{number}.mp4")
        text.write_text("this is no video")
        with pytest.raises(Exception, match=r"text\d+\.mp4"):
            client.predict(clip=gradio_client.handle_file(str(text)), **TINY, api_name="/edit")
        return kind, ""
    job = client.predict(clip=gradio_client.handle_file(str(clip)), **TINY, api_name="/edit")["id"]
    if kind == "cancelled":
        client.predict(job=job, api_name="/cancel")
    return kind, job


def states(client: Any) -> dict[str, str]:
    return {each["id"]: each["state"] for each in client.predict(api_name="/list")}


def count(found: dict[str, str], *wanted: str) -> int:
    return sum(state in wanted for state in found.values())


def test_nothing_is_lost_under_load(tmp_path: Path, tiny_clip: Path) -> None:
    workspace, began = tmp_path / "work", time.monotonic()
    words = ("--limits.rate", "1000000", "--limits.waiting", "10000")
    sent: list[tuple[str, str]] = []
    for part in (range(REQUESTS // 2), range(REQUESTS // 2, REQUESTS)):
        # The first half ends with SIGTERM while edits run and wait; the second goes on with them.
        with serving(workspace, *words) as served, ThreadPoolExecutor(AT_ONCE) as pool:
            client = client_of(served)
            sent += pool.map(partial(one, served, client, tiny_clip), part)
            jobs = [job for _, job in sent if job]
            assert set(states(client)) == set(jobs)
            assert served.process.poll() is None
    asked = time.monotonic() - began
    cancelled = {job for kind, job in sent if kind == "cancelled"}
    with serving(workspace, *words) as served:
        client, memory = client_of(served), 0
        for job in cancelled:
            client.predict(job=job, api_name="/resume")
        already = count(states(client), "done")
        while count(found := states(client), "waiting", "running"):
            assert time.monotonic() - began < 60 * REQUESTS + 1200, found
            assert not count(found, "failed", "stopped"), client.predict(api_name="/list")
            if not memory and count(found, "done") - already >= (len(jobs) - already) / 3:
                memory = served.memory()
            time.sleep(0.3)
        grown = served.memory() - memory
        assert states(client) == dict.fromkeys(jobs, "done")
        for job in jobs:
            folder = workspace / "edits" / job
            assert sorted(path.name for path in folder.iterdir()) == [
                "edit.json",
                "edited.json",
                "edited.mp4",
                "mask.mp4",
            ]
    broken = sum(kind == "broken" for kind, _ in sent)
    print(
        f"{REQUESTS} requests, {AT_ONCE} at once: {len(jobs)} edits, {len(cancelled)} of them cancelled and "
        f"gone on with, {broken} broken uploads; asked in {asked:.0f} s, all done after "
        f"{time.monotonic() - began:.0f} s; memory grew by {grown / 2**20:.1f} MiB"
    )
    assert grown < GROWTH
