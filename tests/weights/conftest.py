"""A web server on this machine that stands for publishers, and one that speaks as the model hub does."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keyface.weights import Entry, Store, WeightFile


@dataclass
class Publisher:
    """Files by path, and how often each was asked for."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    resumes: bool = True


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            published.asked.append(self.path)
            published.ranges.append(self.headers["Range"])
            if self.path in published.redirects:
                self.send_response(302)
                self.send_header("Location", published.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = published.files.get(self.path.partition("?")[0])
            status = 404 if content is None else 200
            content, total = content or b"", len(content or b"")
            if status == 200 and self.headers["Range"] and published.resumes:
                first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                status, content = (206, content[first:]) if first < total else (416, b"")
            self.send_response(status)
            if status in (206, 416):
                span = f"{total - len(content)}-{total - 1}" if content else "*"
                self.send_header("Content-Range", f"bytes {span}/{total}")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if with_body:
                self.wfile.write(content[: len(content) // 2] if published.cut else content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    published = Publisher(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield published
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """A model hub with one repository, owner/name; its files are added with `publish`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", publisher.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        publisher.address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    return publisher


def publish(hub: Publisher, files: dict[str, bytes], revision: str = "main") -> None:
    """Put files into owner/name."""
    facts = {
        "id": "owner/name",
        "sha": "c" * 40,
        "private": False,
        "disabled": False,
        "gated": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [{"rfilename": name} for name in files],
    }
    for place in ("/api/models/owner/name", f"/api/models/owner/name/revision/{revision}"):
        hub.files[place] = json.dumps(facts).encode()
    tree = [
        {"type": "file", "oid": "0" * 40, "size": len(content), "path": name}
        for name, content in files.items()
    ]
    for place in (revision, "c" * 40):
        hub.files[f"/api/models/owner/name/tree/{place}"] = json.dumps(tree).encode()
    for name, content in files.items():
        for place in (revision, "c" * 40):
            hub.files[f"/owner/name/resolve/{place}/{name}"] = content


@pytest.fixture(name="publish")
def publish_fixture() -> Any:
    return publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def entry(**fields: Any) -> Entry:
    """An entry with one file, unless the fields say otherwise."""
    settings: dict[str, Any] = {
        "name": "net",
        "title": "A network",
        "kind": "recognizer",
        "without": "nothing",
        "licence": "MIT",
        "licence_url": "somewhere",
        "commercial": "yes",
        "files": (WeightFile("net.onnx"),),
    }
    return Entry(**{**settings, **fields})


@pytest.fixture
def make_entry() -> Any:
    return entry
