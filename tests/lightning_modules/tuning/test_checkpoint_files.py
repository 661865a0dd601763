"""How checkpoints come to the disk."""

import os
import resource
import stat
import tempfile
from pathlib import Path

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from keyface.lightning_modules.tuning import checkpoint_files
from keyface.lightning_modules.tuning.checkpoint_files import CheckedCheckpointIO
from keyface.weights.checksum import checksum_file


@pytest.fixture(params=["files without a name", "none of these"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "none of these":
        monkeypatch.delattr(os, "O_TMPFILE")


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path) -> None:
    files, path = CheckedCheckpointIO(), tmp_path / "runs" / "last.ckpt"
    files.save_checkpoint({"step": torch.tensor(1)}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"last\.ckpt: it would be larger than a file may be here"):
            files.save_checkpoint({"step": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files.load_checkpoint(path)["step"] == 1
    assert sorted(path.parent.iterdir()) == sorted([path, checksum_file(path)]), "and nothing else is left"


def test_a_checkpoint_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's folder for temporary files may be on another disk, and small."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    path = tmp_path / "last.ckpt"
    (tmp_path / ".last.ckpt.0123abcd.part").write_bytes(b"of a killed process")
    CheckedCheckpointIO().save_checkpoint({"step": 1}, path)
    assert sorted(tmp_path.iterdir()) == sorted([path, checksum_file(path)])


def test_killed_before_the_new_checksum_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, path = CheckedCheckpointIO(), tmp_path / "last.ckpt"
    files.save_checkpoint({"step": 1}, path)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_files, "write_checksum", killed)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint({"step": 2}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert files.load_checkpoint(path)["step"] == 2


def test_others_may_read_and_write_what_the_umask_lets_them(tmp_path: Path) -> None:
    path, before = tmp_path / "last.ckpt", os.umask(0o002)
    try:
        CheckedCheckpointIO().save_checkpoint({"step": 1}, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def test_what_is_no_path_is_written_by_lightning() -> None:
    files, place = CheckedCheckpointIO(), MemoryFileSystem()
    files.save_checkpoint({"step": 3}, "memory://runs/last.ckpt")
    assert torch.load(place.open("/runs/last.ckpt"))["step"] == 3
    files.remove_checkpoint("memory://runs/last.ckpt")
    assert not place.exists("/runs/last.ckpt")


def test_a_removed_checkpoint_takes_its_checksum_along(tmp_path: Path) -> None:
    files, path = CheckedCheckpointIO(), tmp_path / "last.ckpt"
    files.save_checkpoint({"step": 1}, path)
    files.remove_checkpoint(path)
    assert not list(tmp_path.iterdir())
