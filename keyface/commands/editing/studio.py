"""`keyface studio`: a page to edit on, in a browser, and a queue that other programs can call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from keyface.studio.limits import Limits


def studio(
    workspace: Path = Path("studio"),
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    limits: Annotated[Mapping[str, Any], Limits] = MappingProxyType({}),
    weights: str = "miniature",
    identity: Path | None = None,
    direction: Path | None = None,
    categories: Path | None = None,
    device: str | None = None,
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    strict_device: bool = False,
) -> None:
    """Serve a page on which clips are edited, and a queue that other programs can call.

    Drop a clip, press the person, choose categories or write a prompt, look at three keyframes, start the
    edit. Edits are made one at a time. They go on after a stop, also with `keyface edit`, whose command line
    the page shows. Only this machine can open the page unless --host says otherwise; then a token is needed.

    Args:
        workspace: Folder of all uploads and edits; nothing outside it is read or written for the page.
        host: Address to listen at; 0.0.0.0 lets other machines in, with a token.
        port: Port to listen at; 0 takes a free one.
        token: What other machines must know, at least 16 characters; one is made and printed where it is
            needed. Given, it is also needed on this machine.
        limits: How much is taken.
        weights: As of `keyface edit`.
        identity: As of `keyface edit`.
        direction: As of `keyface edit`.
        categories: YAML file with edit categories of your own.
        device: Where to compute, such as cuda or cpu; on a GPU where there is one if not given.
        dtype: As of `keyface edit`.
        strict_device: Take no CPU in place of a GPU: an error instead of a warning.

    Raises:
        ValueError: A limit, the token or the address does not fit, or another studio has the workspace.
        ImportError: The extra `studio` is not installed.
    """
    from importlib.util import find_spec

    for package in ("gradio", "uvicorn"):
        if find_spec(package) is None:
            raise ImportError(f"keyface studio needs {package}: pip install 'keyface[studio]'")
    from keyface.plugins import edits
    from keyface.progress import say
    from keyface.studio.serve import listening, serve, token_for
    from keyface.studio.service import Studio
    from keyface.studio.workspace import Workspace

    allowed = Limits(**limits)
    needed = token_for(host, token)
    networks = {
        "weights": weights,
        "identity": identity,
        "direction": direction,
        "device": device,
        "dtype": dtype,
    }
    folder = Workspace(workspace, allowed.workspace_bytes)
    with listening(host, port) as sock, edits.with_file(categories):
        made = Studio(folder, networks, allowed, categories)
        serve(made, sock, host, needed, say)
