"""Downloads files over https: checked, and continued where they stopped."""

import fcntl
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from keyface.files import sha256
from keyface.weights.catalogue import WeightFile

_SECONDS = 20
_CHUNK = 2**20
_RANGE = re.compile(r"bytes (\d+)-")


class FetchError(Exception):
    """Something could not be fetched; the message says why."""


def download(url: str, part: Path, label: str, digest: str = "") -> None:
    """Download a file, or the rest of it.

    What came of a file whose hash is known stays when the connection breaks, and the next call asks only for
    the rest (HTTP's Range). Without a hash nothing would tell that both halves are of one file, so that it
    begins anew.

    Args:
        url: https; http from this machine only.
        part: Where it is written, and where an earlier call may have left its beginning.
        label: Stands beside the progress bar.
        digest: SHA-256 of the whole in hex, or its first digits; empty if nobody knows it.

    Raises:
        FetchError: The file is another one than expected, the connection broke, or another process is
            fetching it.
        urllib.error.HTTPError: The host refuses.
        OSError: The host does not answer.
    """
    _check_url(url)
    part.parent.mkdir(parents=True, exist_ok=True)
    with _alone(part) as file:
        if not digest:
            file.truncate(0)
        try:
            _receive(url, file, label)
        except BaseException:
            if not digest or not file.tell():
                part.unlink()
            raise
    if digest and not (found := sha256(part)).startswith(digest):
        part.unlink()
        raise FetchError(f"{_name(url)}: sha256 {found} came, {digest} was published; nothing is kept")


def check(path: Path, file: WeightFile) -> None:
    """Compare a fetched file with what was published of it.

    Raises:
        FetchError: It has another hash.
    """
    expected = file.sha256 or file.sha256_starts
    if expected and not (digest := sha256(path)).startswith(expected):
        raise FetchError(f"{file.path}: sha256 {digest} came, {expected} was published; nothing is kept")


def _receive(url: str, file: BinaryIO, label: str) -> None:
    """Append to a file what it lacks of a URL's content."""
    here = file.seek(0, 2)
    headers = {"User-Agent": "keyface"} | ({"Range": f"bytes={here}-"} if here else {})
    try:
        answer = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=_SECONDS)
    except http.client.HTTPException as error:
        raise FetchError(f"{_name(url)}: the host's answer is not understood: {error!r:.100}") from error
    except urllib.error.HTTPError as error:
        if error.code == 416 and here:  # nothing is left after what is here, as far as that is of this file
            error.close()
            if _total(error.headers) != here:
                file.truncate(0)
                _receive(url, file, label)
            return
        raise
    with answer:
        here = _start(answer, here)
        file.truncate(here)
        file.seek(here)
        length = answer.headers.get("Content-Length")
        total = here + int(length) if length else None
        # Without a terminal there is no bar.
        with tqdm(
            total=total, initial=here, unit="B", unit_scale=True, desc=label, leave=False, disable=None
        ) as bar:
            for chunk in _chunks(answer):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and file.tell() != total:
        raise FetchError(
            f"{_name(url)}: the connection broke after {file.tell()} of {total} bytes; run the command again"
        )


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield an answer's content; raise FetchError where the connection breaks."""
    try:
        while chunk := answer.read(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(
            f"{_name(answer.url)}: the connection broke ({error!r:.60}); run the command again"
        ) from error


def _start(answer: Any, asked: int) -> int:
    """Return the position in the file from which an answer goes on."""
    if answer.status != 206:
        return 0
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise FetchError(f"{_name(answer.url)}: the host answered with another part than was asked for")
    return asked


def _total(headers: Any) -> int | None:
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """Open a file for writing without emptying it; no other process may do so at the same time."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(f"{part}: another process is fetching it; wait for it") from error
        yield file


def _name(url: str) -> str:
    """Return the last part of a URL: a registry's address may be private."""
    return urllib.parse.urlsplit(url).path.rpartition("/")[2]


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise FetchError(f"{_name(url)}: is fetched by https only, not by {parts.scheme or 'no protocol'}")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that `download` would take itself."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for a redirect's target."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)
