"""Copies of remote shards: whole, checked and bounded, whatever breaks on the way."""

import fcntl
import hashlib
import multiprocessing
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_sources import fetching
from keyface.datamodules.shard_sources.cache import Remote, ShardCache, default_folder
from keyface.datamodules.shards import ShardsDataModule

SIZE = 100_000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PART", 30_000)
    monkeypatch.setattr(fetching, "_SECONDS", 0.001)


def remote(host, number: int, size: int = SIZE, digest: bool = True) -> Remote:
    content = bytes([number]) + os.urandom(size - 1)
    (host.folder / f"{number}.tar").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Remote(f"{host.address}/{number}.tar", sha256[:32], size, sha256 if digest else "")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".tar", ".part"))


def test_a_copy_is_fetched_once_in_parts(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    for _ in range(2):
        assert cache.fetch(shard).read_bytes() == (tmp_path / "1.tar").read_bytes()
    spans = [span for _, span in host.asked]
    assert spans == ["bytes=0-29999", "bytes=30000-59999", "bytes=60000-89999", "bytes=90000-99999"]
    assert names(cache.folder) == [f"{shard.key}.tar"]


def test_a_host_without_parts_sends_the_whole(tmp_path: Path, host) -> None:
    host.ranges = False
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    assert cache.fetch(shard).read_bytes() == (tmp_path / "1.tar").read_bytes()
    assert len(host.asked) == 1


def test_a_broken_connection_is_tried_again(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    host.cut_after = [30_000, 5, 0]  # the first part is whole, the second fails twice
    assert cache.fetch(shard).read_bytes() == (tmp_path / "1.tar").read_bytes()
    assert [span for _, span in host.asked].count("bytes=30000-59999") == 3


def test_what_came_before_the_host_went_is_kept(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    host.cut_after = [30_000, 30_000, *[7] * fetching.TRIES]
    with pytest.raises(ShardError, match=r"1.tar: cannot be fetched, 4 tries failed .* 60000 bytes .* kept"):
        cache.fetch(shard)
    assert names(cache.folder) == [f"{shard.key}.{SIZE}.part"]
    host.asked.clear()
    assert cache.fetch(shard).read_bytes() == (tmp_path / "1.tar").read_bytes()
    assert host.asked[0][1] == "bytes=60000-89999"


def test_other_content_than_the_index_says_is_not_kept(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    path = tmp_path / "1.tar"
    content = path.read_bytes()
    path.write_bytes(b"x" + content[1:])
    with pytest.raises(ShardError, match=r"1.tar: sha256 .* came, its index says .*; nothing is kept"):
        cache.fetch(shard)
    assert names(cache.folder) == []
    # What an earlier call left of another version goes.
    path.write_bytes(content)
    (cache.folder / f"{shard.key}.{SIZE}.part").write_bytes(b"another beginning")
    assert cache.fetch(shard).read_bytes() == content


def test_a_shorter_file_than_the_index_says_is_an_error(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    path = tmp_path / "1.tar"
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(ShardError, match=r"1.tar: (ends after 60000 of 100000 bytes|cannot be fetched)"):
        cache.fetch(shard)
    path.unlink()
    with pytest.raises(ShardError, match=r"1.tar: not found"):
        cache.fetch(shard)


def test_a_copy_that_was_cut_is_fetched_again(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    copy = cache.fetch(shard)
    copy.write_bytes(b"")
    assert cache.fetch(shard).stat().st_size == SIZE


def test_the_longest_unused_copies_go(tmp_path: Path, host) -> None:
    cache = ShardCache(tmp_path / "cache", 3 * SIZE)
    shards = [remote(host, number) for number in range(4)]
    for number, shard in enumerate(shards[:3]):
        os.utime(cache.fetch(shard), (number, number))
    cache.fetch(shards[0])  # used just now
    cache.fetch(shards[3])
    assert names(cache.folder) == sorted(f"{shards[number].key}.tar" for number in (0, 2, 3))
    assert sum(path.stat().st_size for path in cache.folder.glob("*.tar")) <= cache.limit


def test_what_a_killed_process_left_gives_way(tmp_path: Path, host) -> None:
    cache = ShardCache(tmp_path / "cache", SIZE)
    cache.folder.mkdir()
    (cache.folder / f"{'0' * 32}.{SIZE}.part").write_bytes(b"half")
    cache.fetch(shard := remote(host, 1))
    assert names(cache.folder) == [f"{shard.key}.tar"]


def test_what_a_process_fetches_now_stays_and_a_whole_copy_gives_way(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", SIZE), remote(host, 1)
    cache.folder.mkdir()
    part, others = cache.folder / f"{shard.key}.{SIZE}.part", "0" * 32
    with (cache.folder / f"{others}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (cache.folder / f"{others}.{SIZE}.part").write_bytes(b"half")
        assert not cache._admit(shard, part)
        assert names(cache.folder) == [f"{others}.{SIZE}.part"]
        (cache.folder / f"{others}.{SIZE}.part").rename(cache.folder / f"{others}.tar")
        os.truncate(cache.folder / f"{others}.tar", SIZE)
        assert cache._admit(shard, part)
    assert names(cache.folder) == [part.name]


def test_a_shard_of_unknown_size_is_fetched_once(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 2 * SIZE), replace(remote(host, 1, digest=False), size=-1)
    first = cache.fetch(shard).read_bytes()
    host.asked.clear()
    assert cache.fetch(shard).read_bytes() == first
    assert host.asked == []


def test_the_folder_of_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("KEYFACE_SHARD_CACHE", raising=False)
    assert default_folder() == Path.home() / ".cache" / "keyface" / "shards"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "keyface" / "shards"
    monkeypatch.setenv("KEYFACE_SHARD_CACHE", "~/shards")
    assert default_folder() == Path.home() / "shards"


def test_a_shard_larger_than_the_cache_is_refused(tmp_path: Path, host) -> None:
    with pytest.raises(ShardError, match=r"1.tar: 0.00 GB, the cache holds 0.00; raise cache_gb"):
        ShardCache(tmp_path / "cache", SIZE - 1).fetch(remote(host, 1))
    assert host.asked == []


def test_a_cache_in_which_shards_would_push_each_other_out_is_refused(
    make_shards, tmp_path: Path, host
) -> None:
    make_shards(3, 4)
    data = ShardsDataModule(f"{host.address}/shards", cache=tmp_path / "cache", cache_gb=1e-5)
    with pytest.raises(ShardError, match=r"up to 2 shards are read side by side, .* raise cache_gb"):
        data.setup("fit")
    assert host.paths() == []


def test_no_room_is_said_and_nothing_is_left(tmp_path: Path, host) -> None:
    cache, shard = ShardCache(tmp_path / "cache", 10**6), remote(host, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (45_000, before[1]))
    try:
        with pytest.raises(
            ShardError, match=r"cache: .* choose another disk by giving the data another `cache`"
        ):
            cache.fetch(shard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert names(cache.folder) == []


def test_a_disk_without_room_is_said_before_anything_is_fetched(tmp_path: Path, host) -> None:
    shard = remote(host, 1)
    huge = Remote(shard.url, shard.key, 10**18, shard.sha256)
    with pytest.raises(ShardError, match=r"cache: no room for .*1.tar, [\d,]+ MB more are needed"):
        ShardCache(tmp_path / "cache", 10**19).fetch(huge)
    assert host.asked == []


def fetch_all(cache: ShardCache, shards: list[Remote]) -> None:
    for shard in shards:
        with cache.fetch(shard).open("rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == shard.sha256


def test_processes_share_a_cache(tmp_path: Path, host) -> None:
    cache = ShardCache(tmp_path / "cache", 10 * SIZE)
    shards = [remote(host, number) for number in range(4)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch_all, args=(cache, shards)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(host.asked) == 16, "each part once"
    assert len(names(cache.folder)) == 4
