"""What the server says to one browser: a fixed list of files, and two addresses that take answers.

A name that is not in the list is not there, so no path is ever made of what a browser sends. Nothing is
kept of who asks: no address, no browser, no time.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from dataclasses import asdict
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import IO, TYPE_CHECKING, Any

from keyface.study.answers import LONGEST_LINE, ConflictError, parse_line
from keyface.study.serving.public import TYPES, UnsatisfiableError, open_public, wanted_part
from keyface.untrusted import UntrustedError

if TYPE_CHECKING:
    from keyface.study.serving.server import StudyServer

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_PART = 2**18


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    server: StudyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "keyface", ""
    timeout = 30
    """Seconds that a browser may be silent."""

    def do_GET(self) -> None:
        """Send a file of the list."""
        self._send_file()

    def do_HEAD(self) -> None:
        """Send the head of a file of the list."""
        self._send_file()

    def do_POST(self) -> None:
        """Take a rater who begins, or an answer."""
        # The body is read in any case, or the connection closed: what is left of it is no request.
        if not self._allowed():
            self.close_connection = True
            return
        if self.path not in ("/api/begin", "/api/answer"):
            self.close_connection = True
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing of this name")
            return
        body = self._body()
        if body is None:
            return
        try:
            rater, booklet, answer = parse_line(body, "request", self.server.study)
            if self.path == "/api/begin":
                found = self.server.answers.begin(rater)
                self._send_json(
                    HTTPStatus.OK,
                    {"booklet": found.booklet, "answers": [asdict(each) for each in found.answers.values()]},
                )
            elif booklet is None or answer is None:
                self._refuse(HTTPStatus.BAD_REQUEST, "an answer is needed")
            else:
                self.server.answers.add(rater, booklet, answer, "request")
                self._send_json(HTTPStatus.OK, {"kept": True})
        except UntrustedError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ConflictError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except (OverflowError, OSError, ValueError):  # ValueError: the file was closed, the server stops
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the answer cannot be kept now; try again later")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no record of who asked for what."""

    def _body(self) -> bytes | None:
        """Return the body of a request; None where it was refused."""
        kind, length = self.headers.get_content_type(), self.headers.get("Content-Length", "")
        self.close_connection = True
        if kind != "application/json":  # which no other site's form can send
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is needed")
        elif not re.fullmatch(r"[0-9]{1,18}", length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length is needed")
        elif int(length) > LONGEST_LINE:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LONGEST_LINE} bytes are read")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self.close_connection = False
                return body
        return None

    def _allowed(self) -> bool:
        """Tell whether the browser may ask, after refusing it if not."""
        host = re.sub(r":\d+$", "", self.headers.get("Host", "")).strip("[]")
        if self.server.local and not is_loopback(host):
            # A name of somebody else's that leads to this machine: DNS rebinding.
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server is for this machine alone")
            return False
        if self.server.token is None or self._brings(self._cookie()):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "open the address with the token that you were given")
        return False

    def _cookie(self) -> str:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie_name)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    @property
    def _cookie_name(self) -> str:
        """Return a name of this study's own: browsers do not tell apart ports of one host."""
        return f"keyface_{self.server.study.digest[:8]}"

    def _brings(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), (self.server.token or "").encode())

    def _send_file(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.removeprefix("/") or "index.html"
        word = query.removeprefix("token=")
        if self.server.token is not None and path == "/" and word != query and self._brings(word):
            self._take_token()
            return
        if not self._allowed():
            return
        if name not in self.server.study.public:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing of this name")
            return
        try:
            file = open_public(self.server.study, name)
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing of this name")
            return
        with file:
            self._send(file, TYPES[os.path.splitext(name)[1]], name.startswith("media/"))

    def _take_token(self) -> None:
        """Keep the token in a cookie, so that it stands neither in the address nor in a bookmark."""
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header(
            "Set-Cookie", f"{self._cookie_name}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
        )
        self._end({"Content-Length": "0", "Cache-Control": "no-store"})

    def _send(self, file: IO[bytes], kind: str, lasting: bool) -> None:
        """Send a file, or the part of it that a player asks for."""
        size = os.fstat(file.fileno()).st_size
        try:
            part = wanted_part(self.headers.get("Range", ""), size)
        except UnsatisfiableError:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self._end({"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        first, end = part or (0, size)
        self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
        headers = {"Content-Type": kind, "Content-Length": str(end - first), "Accept-Ranges": "bytes"}
        headers["Cache-Control"] = "private, max-age=86400" if lasting else "no-cache"
        if part is not None:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        self._end(headers)
        if self.command == "HEAD":
            return
        file.seek(first)
        while first < end and (piece := file.read(min(_PART, end - first))):
            self.wfile.write(piece)
            first += len(piece)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send_json(status, {"error": reason})

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if self.close_connection:
            self.send_header("Connection", "close")
        self._end(
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
            }
        )
        if self.command != "HEAD":
            self.wfile.write(body)

    def _end(self, headers: dict[str, str]) -> None:
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()
