"""Hashes that are remembered: right after any change, and without reading where nothing changed."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyface.weights.hashes import cache_file, known_sha256

LONG_AGO = 10**18


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return hashlib.sha256(content).hexdigest()


def bytes_read() -> int:
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="bytes read are counted by Linux")
def test_a_file_that_stays_is_read_once(tmp_path: Path) -> None:
    path, size = tmp_path / "weights", 2**24
    expected = written(path, os.urandom(size))
    before = bytes_read()
    assert known_sha256(path) == expected
    once = bytes_read() - before
    assert size <= once < 1.1 * size
    assert known_sha256(path) == expected
    assert bytes_read() - before - once < 10_000


def test_changes_are_seen_even_where_size_and_time_are_set_back(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    first = written(path, b"one")
    assert known_sha256(path) == first
    second = written(path, b"two")
    assert known_sha256(path) == second != first
    other = tmp_path / "other"
    third = written(other, b"six")
    other.replace(path)
    assert known_sha256(path) == third


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert known_sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert not cache_file().exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"a": 1}'])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, content: bytes) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_bytes(content)
    path = tmp_path / "weights"
    expected = written(path, b"one")
    assert known_sha256(path) == expected
    assert expected in cache_file().read_text()


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    path = tmp_path / "weights"
    expected = written(path, b"one")
    assert known_sha256(path) == expected


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    digest = written(first, b"one")
    known_sha256(first)
    first.unlink()
    written(second, b"two")
    known_sha256(second)
    assert digest not in cache_file().read_text()


def test_processes_that_remember_at_once_lose_nothing(tmp_path: Path) -> None:
    files = [tmp_path / f"weights-{number}" for number in range(40)]
    digests = [written(path, path.name.encode()) for path in files]
    code = "import sys; from pathlib import Path; from keyface.weights.hashes import known_sha256\n"
    code += "sys.stdin.readline()\nfor path in sys.argv[1:]: known_sha256(Path(path))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, *map(str, part)], stdin=subprocess.PIPE, env={**os.environ}
        )
        for part in (files[:20], files[20:])
    ]
    time.sleep(0.5)
    for process in processes:
        process.communicate(b"\n", timeout=60)
        assert process.returncode == 0
    content = cache_file().read_text()
    assert all(digest in content for digest in digests)
