"""The studio as a server: its looks, its addresses, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Any

from keyface.locking import alone_in
from keyface.studio.service import Studio

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_GRACE = 3
"""Seconds for open connections at the end."""


def token_for(host: str, given: str | None) -> str | None:
    """Return the token that requests must have: none on this machine alone, unless one is given.

    Raises:
        ValueError: The given one is too short.
    """
    if given is not None and len(given) < 16:
        raise ValueError("--token is shorter than 16 characters; leave it out, and one is made")
    return given if given is not None or is_loopback(host) else secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hosts_of(host: str) -> Collection[str] | None:
    """Return the names by which the server may be called; None for any, where a token is asked for."""
    return {*LOOPBACK, host} if is_loopback(host) else None


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        ValueError: The address is not this machine's, or the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ValueError(
            f"--host {host} --port {port}: {error.strerror or error}; give another; --port 0 is a free one"
        ) from error
    return found


def address_of(host: str, port: int, token: str | None) -> str:
    """Return the address to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{'' if token is None else f'?token={token}'}"


def application(studio: Studio, host: str, token: str | None) -> Any:
    """Return the ASGI application of a studio."""
    # Read by Gradio when it is imported, and when it writes files.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(studio.workspace.folder)
    import gradio as gr
    from fastapi import FastAPI

    from keyface.studio.guard import Guard
    from keyface.studio.page import build_page

    page = build_page(studio)
    page.queue(max_size=1000, default_concurrency_limit=4)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        "/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=[str(studio.workspace.folder / ".lock")],
        max_file_size=studio.limits.upload_bytes,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(gr),
        css=(files("keyface.studio") / "templates" / "studio.css").read_text(),
    )
    # Gradio checks the files that requests name only once `launch` has set this, which is not called here.
    page.has_launched = True
    return Guard(app, studio.workspace, studio.limits, hosts_of(host), token)


def serve(
    studio: Studio, sock: socket.socket, host: str, token: str | None, say: Callable[[str], None]
) -> None:
    """Serve until a signal comes; then the edit that runs is left so that it can go on."""
    import uvicorn

    with alone_in(studio.workspace.folder):
        _ = studio.engine.pipe  # weights that are not here are told of before anybody opens the page
        app = application(studio, host, token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
            server_header=False,
            proxy_headers=False,
        )
        logging.getLogger("uvicorn.error").addFilter(is_no_goodbye)
        with studio.queue:
            say(f"the studio is at {address_of(host, sock.getsockname()[1], token)}; Ctrl-C ends it")
            uvicorn.Server(config).run(sockets=[sock])


def is_no_goodbye(record: logging.LogRecord) -> bool:
    """Tell whether a line of the server is not merely about pages that were open when it ended."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.CancelledError) or str(record.msg).startswith("Cancel %s running"))


def _theme(gr: Any) -> Any:
    """Return colours with enough contrast, and fonts that every machine has: none is fetched."""
    theme = gr.themes.Base(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size="sm",
    )
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*primary_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
    )
