"""Folders in which one process works at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from keyface.locking import LOCK, alone_in

HOLDER = """
import sys
from pathlib import Path
from keyface.locking import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_another_process_is_told_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    holder = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder:
        assert holder.stdout.readline() == "in\n"
        with (
            pytest.raises(ValueError, match=r"new/folder: another process is at work in it; wait"),
            alone_in(folder),
        ):
            pass
        assert (folder / LOCK).exists(), "the other one's lock stays"
        holder.kill()
    with alone_in(folder):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_folder_that_nothing_was_written_into_goes(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match="full"), alone_in(tmp_path / "b"):
        raise OSError("full")
    assert (tmp_path / "b").is_dir(), "it was there before"


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        (tmp_path / LOCK).unlink()
        with alone_in(tmp_path):  # as who removes the first one's lock asks for
            pass
