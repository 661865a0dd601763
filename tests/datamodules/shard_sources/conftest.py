"""A web server on this machine that stands for the host of shards."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Host:
    """Serves a folder.

    Attributes:
        address: Its URL, without a slash at the end.
        folder: What it serves.
        server: To be given a TLS context.
        asked: The path and range of each answer with content.
        ranges: Whether it answers with parts of files.
        cut_after: Bytes after which it breaks its next answers off, one number each.
    """

    address: str
    folder: Path
    server: http.server.ThreadingHTTPServer
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)

    def paths(self, suffix: str = ".tar") -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.asked if path.endswith(suffix)]


def serve(folder: Path) -> Host:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = folder / self.path.partition("?")[0].lstrip("/")
            asked = self.headers["Range"]
            if with_body:
                host.asked.append((self.path.partition("?")[0], asked))
            content = path.read_bytes() if path.is_file() else None
            status, total = (404 if content is None else 200), len(content or b"")
            content = content or b""
            if status == 200 and asked and host.ranges:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                content = content[int(first) : int(last) + 1 if last else None]
                status = 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{total}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body and status != 404 and host.cut_after:
                self.wfile.write(content[: host.cut_after.pop(0)])
                self.close_connection = True
            elif with_body:
                self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = Host(f"http://127.0.0.1:{server.server_port}", folder, server)
    return host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Serves the test's folder."""
    host = serve(tmp_path)
    thread = threading.Thread(target=host.server.serve_forever, daemon=True)
    thread.start()
    yield host
    host.server.shutdown()
    host.server.server_close()
    thread.join()
