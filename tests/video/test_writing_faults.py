"""What happens to files when writing a video goes wrong: the disk is full, or the process is killed."""

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich_videos import Rich, Sound, make_rich

from keyface.video import VideoReader, open_writer

SLOW = """
import sys, time
from keyface.video import VideoReader, VideoWriter
reader = VideoReader(sys.argv[1])
with VideoWriter(sys.argv[2], like=reader) as writer:
    for chunk in reader.chunks(5):
        writer.write(chunk)
        print("written", flush=True)
        time.sleep(600)
"""


def copy(reader: VideoReader, target: Path) -> None:
    with open_writer(target, like=reader) as writer:
        for chunk in reader.chunks(5):
            writer.write(chunk)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files stands for the disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("room", [500, 20_000])
def test_a_limit_of_size_leaves_the_old_video_and_nothing_else(tmp_path: Path, name: str, room: int) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich(frames=30, size=(144, 192), sounds=[Sound()]))
    target, reader = tmp_path / name, VideoReader(source)
    target.write_bytes(b"previous")
    len(reader)
    message = rf"{name}: cannot be written to its end: it would be larger than a file may be here"
    with largest_file(room), pytest.raises(OSError, match=message):
        copy(reader, target)
    assert target.read_bytes() == b"previous"
    assert sorted(tmp_path.iterdir()) == sorted([source, target])
    copy(reader, target)
    assert target.stat().st_size > room


def test_a_limit_of_size_leaves_the_old_picture_and_nothing_else(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich(frames=1, size=(144, 192)))
    target, reader = tmp_path / "a.png", VideoReader(source)
    target.write_bytes(b"previous")
    with largest_file(5_000), pytest.raises(OSError, match=r"a\.png: it would be larger than a file may be"):
        copy(reader, target)
    assert target.read_bytes() == b"previous"
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich(frames=60, size=(144, 192)))
    target = tmp_path / "out.mp4"
    target.write_bytes(b"previous")
    words = [sys.executable, "-c", SLOW, str(source), str(target)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        parts = [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(parts) == 1
    assert target.read_bytes() == b"previous"


def test_whoever_looks_sees_the_old_file_or_the_whole_new_one(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich(frames=40, size=(144, 192)))
    target, reader = tmp_path / "out.mp4", VideoReader(source)
    target.write_bytes(b"previous")
    thread = threading.Thread(target=copy, args=(reader, target))
    thread.start()
    seen = set()
    while thread.is_alive():
        seen.add(target.read_bytes())
        time.sleep(0.002)  # or the writer waits for Python's lock at every step
    thread.join()
    assert seen | {target.read_bytes()} == {b"previous", target.read_bytes()}
    assert len(VideoReader(target)) == 40
