"""What an index says, and says again when it is read."""

from pathlib import Path

import pytest

from keyface.datamodules.shard_files.index import ShardEntry, ShardError, ShardIndex

DIGEST = "0123456789abcdef" * 4


def test_an_index_comes_back(tmp_path: Path) -> None:
    entries = (ShardEntry("a.tar", 3, 4096, DIGEST), ShardEntry("b.tar", 5, 8192, DIGEST[::-1]))
    index = ShardIndex(entries, {"by": "a test"}, ("Dimples", "Spots"))
    index.write(tmp_path)
    assert ShardIndex.read(tmp_path) == index
    assert (index.samples, index.bytes) == (8, 12288)


@pytest.mark.parametrize("count", [0, 2**63 - 1])
def test_counts_at_their_limits(tmp_path: Path, count: int) -> None:
    index = ShardIndex((ShardEntry("a.tar", count, count, DIGEST),))
    index.write(tmp_path)
    assert ShardIndex.read(tmp_path).shards == index.shards


@pytest.mark.parametrize("count", [-1, 2**63, True, 1.0])
def test_what_is_no_count_is_refused(tmp_path: Path, count: int) -> None:
    ShardIndex((ShardEntry("a.tar", count, 1, DIGEST),)).write(tmp_path)
    with pytest.raises(ShardError, match=r"shard 'a\.tar' needs samples, bytes and sha256"):
        ShardIndex.read(tmp_path)
