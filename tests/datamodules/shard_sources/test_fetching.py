"""What is asked of hosts, and what is done with their answers."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from keyface.datamodules.shard_sources import fetching

SIZE = 100_000


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(fetching, "PART", 30_000)
    made = os.urandom(SIZE)
    (tmp_path / "1.tar").write_bytes(made)
    return made


def test_a_file_of_unknown_size_is_asked_for_as_a_whole(tmp_path: Path, host, content: bytes) -> None:
    fetching.receive(f"{host.address}/1.tar", tmp_path / "part", -1)
    assert (tmp_path / "part").read_bytes() == content
    assert host.asked == [("/1.tar", None)]


def test_a_host_that_sends_the_whole_for_the_rest(tmp_path: Path, host, content: bytes) -> None:
    """It takes the place of what was there."""
    host.ranges = False
    (tmp_path / "part").write_bytes(b"x" * 40_000)
    fetching.receive(f"{host.address}/1.tar", tmp_path / "part", SIZE)
    assert (tmp_path / "part").read_bytes() == content
    assert host.asked == [("/1.tar", "bytes=40000-69999")]


@pytest.mark.parametrize(
    "name",
    ["ETag", "etag", "Last-Modified", "LastModified", "Content-MD5", "md5Hash", "updated", "created"],
)
def test_whatever_tells_a_version_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By these names HTTP's hosts, S3 and Google's storage tell it."""
    info = {"name": "a.tar", "size": 5, "type": "file", name: "v1"}
    system = SimpleNamespace(info=lambda path: {**info, "name": path})
    monkeypatch.setattr(fetching, "_opened", lambda url: (system, url))
    assert fetching.describe("s3://bucket/a.tar") == (5, "5 v1")
    info["size"] = None
    assert fetching.describe("s3://bucket/a.tar") == (-1, "None v1")
