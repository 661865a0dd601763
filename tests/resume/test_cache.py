"""Work that a later edit finds again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from keyface.resume.cache import LIMIT_VARIABLE, WorkCache
from keyface.resume.journal import Journal
from keyface.resume.memory_maps import MemoryMaps


def maps_in(folder: Path, value: float = 0.0) -> tuple[MemoryMaps, torch.Tensor]:
    folder.mkdir()
    maps = MemoryMaps(folder)
    tensor = maps.tensor("clean", (4, 2))
    tensor.fill_(value)
    return maps, tensor


def test_work_is_found_by_what_decides_it(tmp_path: Path) -> None:
    cache = WorkCache(tmp_path / "cache", 10**6)
    first, _ = maps_in(tmp_path / "first", 3.0)
    cache.of_work({"steps": 4, "prompt": "a man"}).keep(
        first, ["clean"], {"encode": 4, "errors": [0.5, 0.25]}
    )

    second, tensor = maps_in(tmp_path / "second")
    journal = Journal()
    assert not cache.of_work({"steps": 5, "prompt": "a man"}).restore(second, journal)
    assert not journal.begun
    assert cache.of_work({"prompt": "a man", "steps": 4}).restore(second, journal), (
        "the order does not matter"
    )
    assert torch.equal(tensor, torch.full((4, 2), 3.0)), "what is mapped already shows what was copied"
    assert (journal.count("encode"), journal.numbers("errors")) == (4, [0.5, 0.25])
    assert not cache.of_work({"prompt": "a man", "steps": 4}).restore(second, journal), "it has begun"


def test_a_damaged_entry_counts_as_none(tmp_path: Path) -> None:
    cache = WorkCache(tmp_path / "cache", 10**6)
    maps, _ = maps_in(tmp_path / "first", 3.0)
    work = cache.of_work({})
    work.keep(maps, ["clean"], {"encode": 4})
    os.truncate(work.place / "clean", 5)
    journal = Journal()
    assert not work.restore(maps_in(tmp_path / "second")[0], journal)
    (work.place / "entries.json").write_text("{")
    assert not work.restore(maps_in(tmp_path / "third")[0], journal)
    assert not journal.begun


def test_the_entry_that_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    maps, tensor = maps_in(tmp_path / "first")
    size = tensor.numel() * 4
    cache = WorkCache(tmp_path / "cache", 2 * (size + 20))
    works = [cache.of_work({"number": number}) for number in range(3)]
    for age, work in zip((100, 200), works[:2], strict=True):
        work.keep(maps, ["clean"], {"encode": 4})
        os.utime(work.place / "entries.json", (age, age))
    assert works[0].restore(maps_in(tmp_path / "second")[0], Journal()), "used now, so the other is older"
    works[2].keep(maps, ["clean"], {"encode": 4})
    assert [work.place.is_dir() for work in works] == [True, False, True]
    assert {path.name for path in cache.folder.iterdir()} == {works[0].key, works[2].key}


def test_a_full_disk_only_means_that_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, _ = maps_in(tmp_path / "first")
    work = WorkCache(tmp_path / "cache", 10**6).of_work({})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("keyface.resume.cache.shutil.copyfile", full)
        work.keep(maps, ["clean"], {"encode": 4})
    assert not list((tmp_path / "cache").iterdir())
    work.keep(maps, ["clean"], {"encode": 4})
    assert work.place.is_dir()


def test_the_limit_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkCache.of(tmp_path).limit == 20 * 10**9
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    assert WorkCache.of(tmp_path).limit == 5 * 10**8
    for wrong in ("0", "much", "nan", "inf"):
        monkeypatch.setenv(LIMIT_VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{LIMIT_VARIABLE} is '{wrong}'"):
            WorkCache.of(tmp_path)


def test_what_killed_processes_left_is_removed_and_what_others_do_is_not(tmp_path: Path) -> None:
    maps, _ = maps_in(tmp_path / "first")
    cache = WorkCache(tmp_path / "cache", 10**6)
    cache.folder.mkdir()
    script = (
        "import os, shutil, sys, time\n"
        "from pathlib import Path\n"
        "from keyface.resume import cache\n"
        "from keyface.resume.memory_maps import MemoryMaps\n"
        "folder = Path(sys.argv[1])\n"
        "def slowly(source, target):\n"
        "    target.touch()\n"
        "    print('copying', flush=True)\n"
        "    time.sleep(600)\n"
        "cache.shutil.copyfile = slowly\n"
        "work = cache.WorkCache(folder / 'cache', 10**6).of_work({'process': sys.argv[2]})\n"
        "work.keep(MemoryMaps(folder / 'first'), ['clean'], {'encode': 4})\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, name], stdout=subprocess.PIPE, text=True)
        for name in ("killed", "running")
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "copying\n"
        assert len(list(cache.folder.iterdir())) == 2
        running[0].kill()
        running[0].wait()
        work = cache.of_work({})
        work.keep(maps, ["clean"], {"encode": 4})
        left = [path for path in cache.folder.iterdir() if path != work.place]
        assert len(left) == 1
        assert next(left[0].iterdir()).name == cache.of_work({"process": "running"}).key
    finally:
        for each in running:
            each.kill()
            each.wait()
            assert each.stdout is not None
            each.stdout.close()


def test_a_folder_that_became_a_file_only_means_that_nothing_is_kept(tmp_path: Path) -> None:
    maps, _ = maps_in(tmp_path / "first")
    (tmp_path / "cache").write_text("a file")
    WorkCache(tmp_path / "cache", 10**6).of_work({}).keep(maps, ["clean"], {"encode": 4})
    assert (tmp_path / "cache").read_text() == "a file"
