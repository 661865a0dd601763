"""Downloads that break and go on, from a server on this machine."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from keyface.weights.download import FetchError, download

CONTENT = os.urandom(3 * 2**20 + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "folder/net.part"


def test_a_broken_download_goes_on_where_it_stopped(publisher: Any, part: Path) -> None:
    publisher.files["/net.onnx"] = CONTENT
    publisher.cut = True
    with pytest.raises(FetchError, match="the connection broke after 1572872 of 3145745 bytes"):
        download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT[: len(CONTENT) // 2]
    publisher.cut = False
    download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT
    assert publisher.ranges == [None, "bytes=1572872-"]
    download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT, "all was here"


def test_a_host_that_cannot_go_on_sends_the_whole(publisher: Any, part: Path) -> None:
    publisher.files["/net.onnx"] = CONTENT
    publisher.resumes = False
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT


def test_a_beginning_of_another_file_is_thrown_away(publisher: Any, part: Path) -> None:
    publisher.files["/net.onnx"] = CONTENT
    part.parent.mkdir()
    part.write_bytes(b"!" * 1000)
    with pytest.raises(FetchError, match=r"net\.onnx: sha256 \w+ came"):
        download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert not part.exists()
    part.write_bytes(b"!" * (len(CONTENT) + 1))  # longer than the file: nothing is left to ask for
    download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT


def test_without_a_hash_nothing_is_kept_of_a_half(publisher: Any, part: Path) -> None:
    publisher.files["/net.onnx"] = CONTENT
    publisher.cut = True
    with pytest.raises(FetchError, match="the connection broke"):
        download(f"{publisher.address}/net.onnx", part, "net")
    assert not part.exists()
    part.write_bytes(b"!" * 1000)
    publisher.cut = False
    download(f"{publisher.address}/net.onnx", part, "net")
    assert part.read_bytes() == CONTENT


def test_one_process_at_a_time(publisher: Any, part: Path) -> None:
    import fcntl

    publisher.files["/net.onnx"] = CONTENT
    part.parent.mkdir()
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another process is fetching it"):
            download(f"{publisher.address}/net.onnx", part, "net")
    assert part.exists()
    assert publisher.asked == []


@pytest.mark.parametrize(
    "url", ["http://example.org/net.onnx", "file:///etc/passwd", "ftp://example.org/net.onnx", "/net.onnx"]
)
def test_only_https(url: str, part: Path) -> None:
    with pytest.raises(FetchError, match="is fetched by https only"):
        download(url, part, "net")
    assert not part.exists()


def test_a_redirect_may_not_leave_https(publisher: Any, part: Path) -> None:
    publisher.redirects["/net.onnx"] = "http://example.org/net.onnx"
    with pytest.raises(FetchError, match="is fetched by https only, not by http"):
        download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    publisher.files["/other.onnx"] = CONTENT
    publisher.redirects["/net.onnx"] = f"{publisher.address}/other.onnx"
    download(f"{publisher.address}/net.onnx", part, "net", DIGEST)
    assert part.read_bytes() == CONTENT
