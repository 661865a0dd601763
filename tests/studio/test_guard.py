"""The guard before an application that answers everything: who and what gets through."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from keyface.studio.limits import Limits
from keyface.studio.workspace import Workspace

httpx = pytest.importorskip("httpx")
starlette = pytest.importorskip("starlette", reason="the extra `studio` is not installed")

LIMITS = Limits(workspace_gb=0.0005, upload_gb=0.0002, rate=5)
TOKEN = "a-token-of-enough-characters"


async def everything(scope: Any, receive: Any, send: Any) -> None:
    """Answer any request with how many bytes it had."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


class Asking:
    """Ask a guard, as if from one address."""

    def __init__(self, folder: Path, token: str | None = None, hosts: set[str] | None = None) -> None:
        from keyface.studio.guard import Guard

        self.workspace = Workspace(folder, LIMITS.workspace_bytes)
        self.guard = Guard(everything, self.workspace, LIMITS, hosts, token)

    def __call__(self, method: str, path: str, **more: Any) -> Any:
        async def ask() -> Any:
            transport = httpx.ASGITransport(self.guard)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path / "work", hosts={"localhost"})


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/gradio_api/info", "/gradio_api/queue/data", "/assets/a.js", "/gradio_api/heartbeat/x"],
)
def test_what_the_page_needs_gets_through(ask: Asking, path: str) -> None:
    answer = ask("GET", path)
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=http://a/", "/gradio_api/runs", "/x", "/?deep_link=a", "/login"]
)
def test_nothing_else_gets_through(ask: Asking, path: str) -> None:
    assert ask("GET", path).status_code == 404


def test_bodies_arrive_whole(ask: Asking) -> None:
    body = json.dumps({"data": ["a" * 5000]}).encode()
    assert ask("POST", "/gradio_api/queue/join", content=body).text == str(len(body))
    assert ask("POST", "/gradio_api/cancel").text == "0"


def test_a_file_may_be_named_that_was_uploaded(ask: Asking) -> None:
    clip = ask.workspace.folder / ("c" * 64) / "a b.mp4"
    clip.parent.mkdir()
    clip.touch()
    for path, status in (
        (clip, 200),
        (clip.with_name("no.mp4"), 400),
        (clip.parent, 400),
        ("", 400),
        (5, 400),
    ):
        body = {"data": [{"deep": [{"path": path if isinstance(path, int) else str(path)}]}]}
        ask.guard._rates = type(ask.guard._rates)(100)
        assert ask("POST", "/gradio_api/queue/join", json=body).status_code == status, path
    assert ask("GET", f"/gradio_api/file={clip}".replace(" ", "%20")).status_code == 200
    assert ask("GET", f"/gradio_api/file={clip}x").status_code == 404


def test_uploads_have_a_size_that_fits(ask: Asking) -> None:
    """200 kB an upload, of 500 kB."""
    assert ask("POST", "/gradio_api/upload", content=b"x" * 200_000).text == "200000"
    assert ask("POST", "/gradio_api/upload", content=b"x" * 270_000).status_code == 413
    (ask.workspace.folder / "ballast").write_bytes(b"x" * 400_000)
    assert ask("POST", "/gradio_api/upload", content=b"x" * 150_000).status_code == 507
    assert ask("POST", "/gradio_api/upload", content=b"x" * 90_000).status_code == 200
    assert ask("GET", "/gradio_api/upload").status_code == 405


def test_too_many_requests_wait(ask: Asking) -> None:
    answers = [ask("POST", "/gradio_api/cancel").status_code for _ in range(7)]
    assert answers == [200] * 5 + [429] * 2
    assert ask("GET", "/").status_code == 200, "what is looked at does not count"


def test_the_server_has_one_name_and_one_page(ask: Asking) -> None:
    assert ask("GET", "/", headers={"host": "evil.example"}).status_code == 403
    assert ask("GET", "/", headers={"origin": "http://evil.example"}).status_code == 403
    assert ask("GET", "/", headers={"origin": "null"}).status_code == 403
    assert ask("GET", "/", headers={"origin": "http://localhost:7860"}).status_code == 200


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    ask = Asking(tmp_path / "work", TOKEN)
    assert ask("GET", "/", headers={"host": "any.example"}).status_code == 401
    for given in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ", "Bearer é".encode(), TOKEN):
        assert ask("GET", "/config", headers={"authorization": given}).status_code == 401
    assert ask("GET", "/config", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert ask("GET", f"/?token={TOKEN}").status_code == 303
    assert ask("GET", f"/config?token={TOKEN}").status_code == 401, "only the page takes it from its address"
    assert ask("GET", "/?token=").status_code == 401
    assert ask("GET", "/config", headers={"cookie": f"keyface-studio-7860={TOKEN}"}).status_code == 200
    assert ask("GET", "/config", headers={"cookie": f"keyface-studio-7861={TOKEN}"}).status_code == 401
