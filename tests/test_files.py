"""Files appear whole or not at all."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from keyface.files import (
    named_when_full,
    publish,
    remove_leftovers,
    replacing,
    require_file_name,
    require_folder,
    require_space,
    sha256,
    write_bytes,
    write_text,
)


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "café.json", "é")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["café.json"]
    assert (tmp_path / "a" / "b" / "café.json").read_bytes() == "é".encode()


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            assert path.read_text() == "old", "nothing is seen before the end"
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_keeps_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "old.txt", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "old.txt"):
        pass
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk's."""
    path = tmp_path / "old.bin"
    write_bytes(path, b"old")
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from keyface.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_bytes(Path(sys.argv[1]), b'n' * 5000)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "OSError" in result.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    write_text(path, "old")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from keyface.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne')\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, path])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert path.read_text() == "old"


def test_space_is_looked_for_on_the_disk_of_a_folder_to_be(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1, "a byte")
    with pytest.raises(ValueError, match=r"yet: too much may take up to 1,000,000,000,000 MB, [\d,]+ MB are"):
        require_space(tmp_path / "not" / "yet", 10**18, "too much")
    assert not list(tmp_path.iterdir())


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first", "the last to end wins, whole"


def test_a_file_is_synced_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a.part", tmp_path / "a"
    source.write_text("new")
    seen: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        seen.append((Path(f"/proc/self/fd/{handle}").readlink().name, target.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(source, target)
    assert seen == [("a.part", False), (tmp_path.name, True)]


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-4
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_names_that_are_too_long_while_they_are_written_are_refused(tmp_path: Path) -> None:
    """The file system takes the name, but not the temporary one."""
    name = "é" * 120
    require_file_name(tmp_path / name)
    write_text(tmp_path / name, "it can be written")
    with pytest.raises(ValueError, match="too long; give one of at most 240 bytes"):
        require_file_name(tmp_path / (name + "a"))
    (tmp_path / (name + "a")).touch()
    with pytest.raises(OSError, match="too long"):
        write_text(tmp_path / (name + "a"), "it cannot")


def test_folders_into_which_nothing_may_be_written_are_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        require_folder(folder / "new" / "deeper")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(ValueError, match="nothing may be written into this folder"):
                require_folder(folder / "new" / "deeper")
            with pytest.raises(ValueError, match="nothing may be written into this folder"):
                require_file_name(folder / "a.mp4")
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_what_a_killed_writer_left_of_a_file_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[1].mp4"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from keyface.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    for killed in (path, tmp_path / "a1.mp4"):
        subprocess.run([sys.executable, "-c", script, killed], timeout=60, check=False)
    path.write_text("whole")
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(path)
    assert {each.name[:5] for each in tmp_path.iterdir()} == {"a[1].", ".a1.m"}
    remove_leftovers(tmp_path / "no" / "such")


def test_names_that_are_no_utf8_can_be_written_down(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_text(tmp_path / "a.json", json.dumps({"name": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": name}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_its_path_need_and_room(tmp_path: Path, number: int) -> None:
    message = r"a\.json: the disk is full, 3\.0 MB are needed and [\d,.]+ MB are free"
    with pytest.raises(OSError, match=message), named_when_full(tmp_path / "a.json", 3_000_000):
        raise OSError(number, os.strerror(number))


def test_a_limit_of_size_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(
            OSError, match=r"a\.json: it would be larger than a file may be here; see `ulimit -f`"
        ):
            write_bytes(path, bytes(3_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]
