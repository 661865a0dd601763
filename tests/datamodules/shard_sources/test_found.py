"""What is known of shards once they are found, with an index and without."""

import hashlib
from pathlib import Path

import pytest

from keyface.datamodules.shard_files.index import ShardEntry, ShardIndex
from keyface.datamodules.shard_files.reader import Faults
from keyface.datamodules.shard_sources.cache import Remote, ShardCache
from keyface.datamodules.shard_sources.sources import Shards

NAMES = ["shard-000000.tar", "shard-000001.tar"]


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", 10**9)


def test_an_index_beside_listed_shards_describes_them(make_shards, cache: ShardCache) -> None:
    folder = make_shards(3, 2)
    entries = ShardIndex.read(folder).shards
    for given, said in (
        (str(folder), str(folder)),
        (f"{folder}/shard-{{000000..000001}}.tar", f"{folder}/shard-{{000000..000001}}.tar"),
        ([f"{folder}/{name}" for name in NAMES], "2 shards"),
    ):
        found = Shards.find(given, cache)
        assert (found.given, found.index.shards, found.indexed) == (said, entries, True)
        assert found.places == tuple(f"{folder}/{name}" for name in NAMES)
        assert not found.is_remote
        assert len(found.samples(0, Faults())) == 3


def test_without_an_index_sizes_alone_are_known(make_shards, cache: ShardCache) -> None:
    folder = make_shards(3, 2)
    (folder / "index.json").unlink()
    expected = tuple(ShardEntry(name, -1, (folder / name).stat().st_size) for name in NAMES)
    for given, said in ((folder, str(folder)), ([f"{folder}/{name}" for name in NAMES], "2 shards")):
        found = Shards.find(given, cache)
        assert (found.given, found.index.shards, found.indexed) == (said, expected, False)
        assert found.places == tuple(f"{folder}/{name}" for name in NAMES)
        assert len(found.samples(1, Faults())) == 2


def test_hosts_are_asked_for_sizes_that_no_index_tells(make_shards, host, cache: ShardCache) -> None:
    folder = make_shards(3, 2)
    url = f"{host.address}/shards/{NAMES[0]}"
    entry = ShardIndex.read(folder).shards[0]
    indexed = Shards.find([url], cache)
    assert indexed._remote(0) == Remote(url, entry.sha256[:32], entry.bytes, entry.sha256)
    (folder / "index.json").unlink()
    found = Shards.find([url], cache)
    assert found.index.shards == (ShardEntry(NAMES[0], -1, entry.bytes),)
    key = hashlib.sha256(f"{url} {found.versions[0]}".encode()).hexdigest()[:32]
    assert found._remote(0) == Remote(url, key, entry.bytes, "")
    assert (found.is_remote, found.indexed) == (True, False)


def test_what_was_found_in_a_fetched_shard_is_read_from_its_listing(
    make_shards, host, cache: ShardCache
) -> None:
    """Later runs look into no shard before they read its samples."""
    make_shards(3)
    found = Shards.find([f"{host.address}/shards/{NAMES[0]}"], cache)
    remote, samples = found._remote(0), found.samples(0, Faults())
    assert repr(cache.listing(remote)) == repr(samples)
    assert [each.key for each in samples] == ["00000", "00001", "00002"]
    host.asked.clear()
    samples[0].shard.unlink()
    assert repr(found.samples(0, Faults())) == repr(samples)
    assert host.asked == []


def test_changed_content_and_bad_samples_count_as_faults(
    make_shards, rewrite, members_of, cache: ShardCache
) -> None:
    folder = make_shards(2)
    members = [
        (name, b"{}" if name == "00001.json" else data) for name, data in members_of(folder / NAMES[0])
    ]
    rewrite(folder, members, hashed=False)
    found, faults = Shards.find(folder, cache), Faults(9)
    assert [each.key for each in found.samples(0, faults)] == ["00000"]
    assert set(faults.seen) == {(f"{folder}/{NAMES[0]}", ""), (f"{folder}/{NAMES[0]}", "00001")}
