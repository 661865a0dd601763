"""What stands before Gradio: who may ask, how often, how much, and for which files.

Gradio's own checks stay on. These hold where it has none: names in requests that are links, addresses that
the server would fetch, the size of the workspace, and pages of other sites that call a server here.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from keyface.studio.limits import Limits
from keyface.studio.workspace import FullError, Workspace
from keyface.untrusted import UntrustedError, parse_json

MOST_BODY = 2**20
"""Bytes of a request that is no upload."""

_OVERHEAD = 2**16
"""Bytes of an upload that are not the file: its name, borders."""

_UPLOAD = "/gradio_api/upload"
_FILE = "/gradio_api/file="

_OPEN = re.compile(
    r"/|/config/?|/theme\.css|/manifest\.json|/favicon\.ico|/robots\.txt|/(assets|static|svelte)/.*"
    r"|/gradio_api/(upload|upload_progress|queue/(join|data)|(call|run|api)/.*|cancel|reset/?|heartbeat/.*"
    r"|info/?|startup-events|theme\.css|app_id/?|token/?|user/?|login_check/?|file=.*)"
)
"""Paths that the page and Gradio's client need; all others are refused, among them those that fetch."""

_HEADERS = {
    b"content-security-policy": (
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:; "
        b"style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class Guard:
    """An ASGI application that refuses requests, or hands them on.

    Args:
        app: What they are handed to.
        workspace: Whose files may be named.
        limits: Of sizes and rates.
        hosts: Names by which this server may be called, without ports; None takes any.
        token: What every request must have; None asks for none.
    """

    def __init__(
        self,
        app: Any,
        workspace: Workspace,
        limits: Limits,
        hosts: Collection[str] | None,
        token: str | None,
    ) -> None:
        self._app, self._workspace, self._limits = app, workspace, limits
        self._hosts, self._token = hosts, token
        self._rates = Rates(limits.rate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, of which the page has none
            await send({"type": "websocket.close", "code": 1008})
            return

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                more = [each for each in _HEADERS.items() if each[0] not in named]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self._answer(Request(scope, receive), sent)
        except ClientDisconnect:  # nobody waits for an answer
            return

    async def _answer(self, request: Request, send: Any) -> None:
        refusal = self._refused(request)
        if refusal is None and request.url.path.startswith(_FILE):
            refusal = self._refused_file(request.url.path.removeprefix(_FILE))
        if refusal is not None:
            await refusal(request.scope, request.receive, send)
        elif request.url.path == _UPLOAD:
            await self._upload(request, send)
        elif request.method == "POST":
            await self._post(request, send)
        else:
            await self._app(request.scope, request.receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Return the answer to a request that is not handed on, by its address and headers."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if self._hosts is not None and host not in self._hosts:
            return PlainTextResponse("this server is not called by that name", 403)
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return PlainTextResponse("pages of other sites may not call this server", 403)
        address = "" if request.client is None else request.client.host
        if request.method == "POST" and not self._rates.take(address):
            return PlainTextResponse(
                f"too many requests; at most {self._limits.rate} a minute are taken",
                429,
                {"retry-after": "10"},
            )
        if (answer := self._without_token(request)) is not None:
            return answer
        known = request.method in ("GET", "HEAD", "POST") and _OPEN.fullmatch(request.url.path)
        if not known or "deep_link" in request.query_params:  # which Gradio reads a file for
            return PlainTextResponse("no such page", 404)
        return None

    def _without_token(self, request: Request) -> Response | None:
        if self._token is None:
            return None
        cookie = f"keyface-studio-{request.url.port or 80}"
        given = request.query_params.get("token")
        if given is not None and request.method == "GET" and request.url.path == "/":
            if not _same(given, self._token):
                self._rates.take("" if request.client is None else request.client.host)
                return PlainTextResponse("that is not the token", 401)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, given, httponly=True, samesite="strict")
            return answer
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        for each in (bearer if kind.lower() == "bearer" else "", request.cookies.get(cookie, "")):
            if _same(each, self._token):
                return None
        return PlainTextResponse(
            "the studio asks for its token: open the address that it printed, or send the header "
            "'Authorization: Bearer TOKEN'",
            401,
        )

    def _refused_file(self, name: str) -> Response | None:
        try:
            self._workspace.inside(unquote(name))
        except ValueError:
            return PlainTextResponse("no such file in the workspace", 404)
        return None

    async def _upload(self, request: Request, send: Any) -> None:
        """Take an upload whose size is known before and fits."""
        length, answer = request.headers.get("content-length", ""), None
        if request.method != "POST":
            answer = PlainTextResponse("uploads are posted", 405)
        elif not length.isdecimal():
            answer = PlainTextResponse("an upload must say its length", 411)
        elif int(length) > self._limits.upload_bytes + _OVERHEAD:
            most = self._limits.upload_bytes / 1e6
            answer = PlainTextResponse(f"the file is too large; at most {most:g} MB are taken", 413)
        if answer is not None:
            await answer(request.scope, request.receive, send)
            return
        room = self._workspace.room(int(length))
        try:
            await run_sync(room.__enter__)
        except FullError as error:
            await PlainTextResponse(str(error), 507)(request.scope, request.receive, send)
            return
        try:
            await self._app(request.scope, request.receive, send)
        finally:
            room.__exit__(None, None, None)

    async def _post(self, request: Request, send: Any) -> None:
        """Hand a request on whose files all lie in the workspace."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                answer = PlainTextResponse(f"more than {MOST_BODY:,} bytes; upload files first", 413)
                await answer(request.scope, request.receive, send)
                return
        try:
            if body:
                for path in _paths(parse_json(body, "the request", limit=MOST_BODY)):
                    self._workspace.inside(path)
        except (UntrustedError, ValueError) as error:
            await PlainTextResponse(str(error), 400)(request.scope, request.receive, send)
            return
        told = False

        async def receive() -> Any:
            nonlocal told
            if told:
                return await request.receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(request.scope, receive, send)


class Rates:
    """Requests of each address: so many a minute, which may come at once.

    Args:
        most: A minute.
    """

    _MOST_ADDRESSES = 10_000

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, address: str) -> bool:
        """Count a request; say whether it is not too many."""
        now = time.monotonic()
        left, before = self._left.get(address, (self._most, now))
        left = min(self._most, left + (now - before) * self._most / 60)
        if len(self._left) >= self._MOST_ADDRESSES:
            self._left.clear()
        self._left[address] = (max(left - 1, 0.0), now)
        return left >= 1


def _paths(content: Any) -> Iterator[str]:
    """Yield the names of files in the content of a request, as Gradio tells them."""
    if isinstance(content, dict):
        if "path" in content and content["path"] is not None:
            yield str(content["path"])
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _paths(each)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())
