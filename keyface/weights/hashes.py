"""Hashes of files that stay as they are, remembered between runs: weights take minutes to read."""

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from keyface.files import sha256, write_text
from keyface.untrusted import read_json

_SETTLED_NS = 2 * 10**9
"""How old a change must be: a later one within the file system's clock tick would not show."""


def known_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, which is read only where it may have changed since last time.

    What is remembered lies in the user's cache, by the file's path, size and times. Where that cannot be
    written, nothing is remembered. Several processes may use it at once.
    """
    path = path.resolve()
    before = _state(path)
    digest = _remembered().get(str(path), {}).get(before)
    if digest is None:
        digest = sha256(path)
        if _state(path) == before and time.time_ns() - path.stat().st_mtime_ns > _SETTLED_NS:
            with suppress(OSError):
                _remember(path, before, digest)
    return digest


def cache_file() -> Path:
    """Return where hashes are remembered."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyface" / "hashes.json"


def _state(path: Path) -> str:
    """Return what changes with a file's content; copying can set the second back, nothing the last."""
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def _remembered() -> dict[str, dict[str, str]]:
    """Return the hash of each path by its state; a damaged file counts as none."""
    try:
        content = read_json(cache_file())
    except (OSError, ValueError):
        return {}
    known = content.items() if isinstance(content, dict) else ()
    return {path: states for path, states in known if isinstance(states, dict)}


def _remember(path: Path, state: str, digest: str) -> None:
    """Add a hash, and forget those of files that are gone."""
    file = cache_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = {known: states for known, states in _remembered().items() if Path(known).is_file()}
        write_text(file, json.dumps({**here, str(path): {state: digest}}, indent=1) + "\n")
