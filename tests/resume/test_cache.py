"""Work that a later edit finds again."""

import os
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
