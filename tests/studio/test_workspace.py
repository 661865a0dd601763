"""The workspace: what lies inside, and how much fits."""

import os
import threading
from pathlib import Path

import pytest

from keyface.studio.limits import Limits
from keyface.studio.workspace import FullError, Workspace

HASH = "a" * 64


def put(path: Path, size: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_only_files_inside_are_found(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.mp4")
    workspace = Workspace(tmp_path / "work", 1000)
    clip = put(workspace.folder / HASH / "a.mp4")
    assert workspace.inside(clip) == clip
    folder = workspace.folder / HASH
    os.symlink(secret, folder / "link.mp4")
    os.symlink(tmp_path, folder / "folder")
    os.symlink("loop.mp4", folder / "loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    put(workspace.folder / "own.mp4")  # of whoever has given the folder
    put(workspace.folder / "holidays" / "own.mp4")
    # A neighbour whose name only begins like the workspace's.
    neighbour = put(tmp_path / "work-too" / "a.mp4")
    for refused in (
        secret,
        neighbour,
        folder / "link.mp4",
        folder / "folder" / "secret.mp4",
        folder / "loop.mp4",
        folder / "pipe.mp4",
        folder,
        folder / "none.mp4",
        folder / ".." / ".." / "secret.mp4",
        workspace.folder / ".." / "secret.mp4",
        workspace.folder / "own.mp4",
        workspace.folder / "holidays" / "own.mp4",
        "a\0b",
        "",
        "secret.mp4",
        "http://localhost/a.mp4",
    ):
        with pytest.raises(ValueError, match="no such file in the workspace"):
            workspace.inside(refused)


def test_a_workspace_may_itself_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    workspace = Workspace(tmp_path / "link", 1000)
    clip = put(tmp_path / "real" / "edits" / "a.mp4")
    assert workspace.inside(tmp_path / "link" / "edits" / "a.mp4") == clip


def test_room_is_given_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work", 1000)
    put(workspace.folder / "a", 400)
    os.symlink(put(tmp_path / "large", 5000), workspace.folder / "link")
    linked = os.lstat(workspace.folder / "link").st_size
    assert workspace.usage() == 400 + linked
    free = 600 - linked
    with workspace.room(free), pytest.raises(FullError, match="do not fit"), workspace.room(1):
        pass
    with workspace.room(free):
        pass
    with pytest.raises(FullError), workspace.room(601):
        pass


def test_many_who_want_room_at_once_get_no_more_than_there_is(tmp_path: Path) -> None:
    """100 threads want 30 bytes each of 1,000 and write them: 33 may."""
    workspace = Workspace(tmp_path / "work", 1000)
    begin, got = threading.Barrier(100), []

    def want(number: int) -> None:
        begin.wait()
        try:
            with workspace.room(30):
                put(workspace.folder / str(number), 30)
                got.append(number)
        except FullError:
            pass

    threads = [threading.Thread(target=want, args=(number,)) for number in range(100)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    # A file counts with its reservation until its block ends, so that at worst half of them are refused.
    assert 1000 // 60 <= len(got) <= 33
    assert workspace.usage() == 30 * len(got) <= 1000


def test_tidy_removes_what_nobody_needs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work", 1000)
    folder = workspace.folder
    old = [
        folder / HASH / "a.mp4",
        folder / ("b" * 64) / "b.mp4",
        folder / "tmpab_c1",
        folder / "pictures" / "p.png",
    ]
    old += [
        folder / "edits" / "abc" / "edited.mp4",
        folder / "built-in" / "rendered.mp4",
        folder / "notes.txt",
    ]
    for each in old:
        put(each)
        os.utime(each, (1, 1))
        os.utime(each.parent if each.parent != folder else each, (1, 1))
    young = put(folder / "pictures" / "young.png")
    workspace.tidy([f"{HASH}/a.mp4"])
    left = {path for path in old if path.exists()}
    assert left == {old[0], *old[4:]}
    assert young.exists()


def test_limits_are_above_nothing() -> None:
    with pytest.raises(ValueError, match=r"limits\.seconds is 0; it must be above 0"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match=r"limits\.rate is nan"):
        Limits(rate=float("nan"))  # type: ignore[arg-type]
    assert Limits(workspace_gb=0.5).workspace_bytes == 500_000_000
