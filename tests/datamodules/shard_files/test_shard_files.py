"""What is on the disk: written whole, checked against the index, read without trust."""

import hashlib
import json
import os
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from keyface.datamodules.shard_files.index import ShardEntry, ShardError, ShardIndex, local_folder
from keyface.datamodules.shard_files.reader import (
    Faults,
    find_samples,
    load_sample,
    read_sample,
    samples_of,
)
from keyface.datamodules.shard_files.verify import faults_of, make_index
from keyface.datamodules.shard_files.writer import write_shard

FIRST = "shard-000000.tar"


def find(folder: Path, limit: int = 0) -> tuple[list[str], Faults]:
    index, faults = ShardIndex.read(folder), Faults(limit)
    return [found.key for shard in index.shards for found in find_samples(folder, shard, faults)], faults


class Canary:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_index_says_what_is_there(make_shards) -> None:
    folder = make_shards(3, 2)
    index = ShardIndex.read(folder)
    assert (index.samples, [shard.samples for shard in index.shards]) == (5, [3, 2])
    for shard in index.shards:
        data = (folder / shard.name).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert index.made == {"by": "a test"}
    assert sorted(path.name for path in folder.iterdir()) == ["index.json", FIRST, "shard-000001.tar"]
    assert find(folder)[0] == [f"{number:05d}" for number in range(5)]
    assert faults_of(folder, index) == []


def test_equal_samples_give_equal_bytes(make_sample, tmp_path: Path) -> None:
    hashes = {write_shard(tmp_path, f"{name}.tar", map(make_sample, range(2))).sha256 for name in "ab"}
    assert len(hashes) == 1


def test_a_sample_comes_back(make_shards, make_sample) -> None:
    folder = make_shards(2, with_latents=True)
    found = find_samples(folder, ShardIndex.read(folder).shards[0], Faults())[1]
    back, wrote = load_sample(found, with_mask=True, with_latents=True), make_sample(1, with_latents=True)
    assert np.array_equal(back.image, wrote.image)
    assert np.array_equal(back.mask, wrote.mask)
    assert back.latents.inverted.equal(wrote.latents.inverted)
    assert back.record.caption == "a photo of person 1"
    assert load_sample(found).mask is None


def test_webdataset_reads_the_same_samples(make_shards) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset

        dataset = webdataset.WebDataset(str(make_shards(3) / FIRST), shardshuffle=False)
        read = [(item["__key__"], sorted(name for name in item if name[0] != "_")) for item in dataset]
    assert read == [(f"{number:05d}", ["json", "mask.png", "png"]) for number in range(3)]


def test_a_failed_write_leaves_nothing(make_sample, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"the one before")

    def broken():
        yield make_sample(0)
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path, "a.tar", broken())
    with pytest.raises(ShardError, match="two samples have the key '00000'"):
        write_shard(tmp_path, "a.tar", [make_sample(0), make_sample(0)])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    assert (tmp_path / "a.tar").read_bytes() == b"the one before"


def test_a_text_member_is_the_caption(make_shards, rewrite, members_of) -> None:
    folder = make_shards(1)
    rewrite(folder, [*members_of(folder / FIRST), ("00000.txt", b" a caption by BLIP-2\n")])
    found = find_samples(folder, ShardIndex.read(folder).shards[0], Faults())
    assert load_sample(found[0]).record.caption == "a caption by BLIP-2"


def test_a_shard_cut_between_two_members(make_shards) -> None:
    """Python's tarfile itself reads such a file without complaint."""
    folder = make_shards(3)
    with tarfile.open(folder / FIRST) as archive:
        third = next(member for member in archive if member.name == "00002.json")
    os.truncate(folder / FIRST, third.offset)
    with tarfile.open(folder / FIRST) as archive:
        assert len(archive.getnames()) == 6
    index = ShardIndex.read(folder)
    with pytest.raises(ShardError, match=rf"{FIRST}: {third.offset} bytes, index.json says"):
        index.check_sizes(folder)
    with pytest.raises(ShardError, match=f"{FIRST}.*unexpected end of data"):
        find(folder)


def test_a_shard_with_too_few_samples_for_its_index(make_shards, rewrite, members_of) -> None:
    folder = make_shards(3)
    rewrite(folder, members_of(folder / FIRST)[:6])
    ShardIndex.read(folder).check_sizes(folder)
    with pytest.raises(ShardError, match=f"{FIRST}: holds 2 samples, its index says 3"):
        find(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.update(schema=9), "schema 9"),
        (lambda index: index.update(samples=4), "says 4 samples, its shards add to 3"),
        (lambda index: index.update(shards=[]), "lists no shards"),
        (lambda index: index.update(made=[]), "'made'"),
        (lambda index: index["shards"][0].update(name="../evil.tar"), "refused shard name '../evil.tar'"),
        (lambda index: index["shards"][0].update(name="/etc/evil.tar"), "refused shard name"),
        (lambda index: index["shards"][0].update(name="pipe:touch x.tar"), "refused shard name"),
        (lambda index: index["shards"].append(index["shards"][0]), "lists a shard twice"),
        (lambda index: index["shards"][0].pop("sha256"), "needs samples, bytes and sha256"),
    ],
)
def test_a_wrong_index_is_refused(make_shards, change, said: str) -> None:
    folder = make_shards(3)
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ShardError) as caught:
        ShardIndex.read(folder)
    assert said in str(caught.value)
    assert "index.json" in str(caught.value)


def test_no_index_and_no_folder(make_shards, tmp_path: Path) -> None:
    folder = make_shards(1)
    (folder / "index.json").write_text("{")
    with pytest.raises(ShardError, match="cannot be read"):
        ShardIndex.read(folder)
    (folder / "index.json").unlink()
    with pytest.raises(ShardError, match="not found"):
        ShardIndex.read(folder)
    with pytest.raises(ShardError, match="no such folder"):
        ShardIndex.read(tmp_path / "none")
    assert make_index(folder, {"by": "hand"}).samples == 1
    with pytest.raises(ShardError, match="exists"):
        make_index(folder, {})


@pytest.mark.parametrize("place", ["pipe:touch {canary}", "https://example.org/a.tar", "file:///tmp"])
def test_only_local_folders_are_opened(place: str, tmp_path: Path) -> None:
    """WebDataset would run the first."""
    canary = tmp_path / "canary"
    with pytest.raises(ShardError, match="refused"):
        local_folder(place.format(canary=canary))
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["00000.pkl", "00000.pyd", "../canary.txt", "/tmp/keyface-canary.txt", "00000.x/../y.json"]
)
def test_hostile_members_are_refused(make_shards, rewrite, members_of, tmp_path: Path, name: str) -> None:
    """Nothing is unpickled and nothing is written where a key points."""
    folder, canary = make_shards(1), tmp_path / "canary"
    before = set(tmp_path.rglob("*"))
    rewrite(folder, [*members_of(folder / FIRST), (name, pickle.dumps(Canary(canary)))])
    with pytest.raises(ShardError, match=f"{FIRST}.*refused member"):
        find(folder)
    assert set(tmp_path.rglob("*")) == before
    assert not canary.exists()
    assert not Path("/tmp/keyface-canary.txt").exists()


def test_links_are_refused(make_shards, rewrite, members_of) -> None:
    folder = make_shards(1)
    link = tarfile.TarInfo("00000.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    rewrite(folder, [*members_of(folder / FIRST), (link, b"")])
    with pytest.raises(ShardError, match="a link or a special file"):
        find(folder)


def test_duplicate_key_and_missing_member(make_shards, rewrite, members_of) -> None:
    folder = make_shards(2)
    first = members_of(folder / FIRST)
    rewrite(folder, [*first, first[0]])
    with pytest.raises(ShardError, match=f"{FIRST}, sample '00000': the key occurs twice"):
        find(folder)
    rewrite(folder, [first[0], first[0], *first[1:]])
    with pytest.raises(ShardError, match="sample '00000': has two json members"):
        find(folder)
    rewrite(folder, first[1:])
    with pytest.raises(ShardError, match="sample '00000': has no json"):
        find(folder)
    rewrite(folder, [member for member in first if member[0] != "00000.png"])
    with pytest.raises(ShardError, match="sample '00000': has no image"):
        find(folder)


@pytest.mark.parametrize("data", [b"", b"garbage" * 500, b"\x1f\x8b\x08" + bytes(2000)])
def test_a_garbage_shard(make_shards, data: bytes) -> None:
    folder = make_shards(2, 1)
    (folder / FIRST).write_bytes(data)
    with pytest.raises(ShardError, match=f"{FIRST}: is not a readable tar file"):
        find(folder)
    keys, faults = find(folder, limit=1)
    assert keys == ["00002"]
    assert len(faults.seen) == 1


def test_tolerant_mode_counts_and_stops(make_shards, rewrite, members_of) -> None:
    folder = make_shards(4)
    members = members_of(folder / FIRST)
    spoiled = [(name, b"{}" if name in ("00001.json", "00002.json") else data) for name, data in members]
    rewrite(folder, spoiled)
    keys, faults = find(folder, limit=2)
    assert keys == ["00000", "00003"]
    assert len(faults.seen) == 2
    with pytest.raises(ShardError, match=r"sample '00002'.*2 faults, 1 are tolerated"):
        find(folder, limit=1)


def test_a_fault_read_again_counts_once(tmp_path: Path) -> None:
    faults = Faults(1)
    for _ in range(3):
        faults.report(tmp_path, "a", ValueError("bad"))
    with pytest.raises(ShardError, match="2 faults"):
        faults.report(tmp_path, "b", ValueError("bad"))


def test_faults_raise_at_once_unless_some_are_tolerated(make_shards, rewrite, members_of) -> None:
    """An index that says 0 samples is wrong, too; without one nothing is expected."""
    folder = make_shards(2)
    with pytest.raises(ShardError, match=r"holds 2 samples, its index says 0"):
        samples_of(folder / FIRST, 0, Faults())
    assert len(samples_of(folder / FIRST, -1, Faults())) == 2
    with pytest.raises(ShardError, match="bad; `keyface shards verify` lists all faults"):
        Faults().report(folder, "a", ValueError("bad"))
    members = members_of(folder / FIRST)
    rewrite(folder, [*members, ("a/b.pkl", b""), ("../c", b"")])
    faults = Faults(9)
    samples_of(folder / FIRST, -1, faults, "the shard")
    assert set(faults.seen) == {("the shard", "a/b"), ("the shard", "../c")}


def test_only_what_is_wanted_is_decoded(make_shards) -> None:
    folder = make_shards(1, with_latents=True)
    (found,) = samples_of(folder / FIRST, 1, Faults())
    with found.shard.open("rb") as file:
        plain = read_sample(file, found.key, found.members)
        whole = read_sample(file, found.key, found.members, with_mask=True, with_latents=True)
    assert (plain.mask, plain.latents) == (None, None)
    assert (load_sample(found).mask, load_sample(found).latents) == (None, None)
    assert whole.mask is not None
    assert whole.latents is not None


def test_verify_lists_every_fault(make_shards, rewrite, members_of) -> None:
    folder = make_shards(2, 1)
    members = members_of(folder / FIRST)
    rewrite(folder, [(name, b"x" if name == "00001.png" else data) for name, data in members], hashed=False)
    rewrite(folder, members_of(folder / FIRST)[:3], shard="shard-000001.tar", hashed=False)
    lines = faults_of(folder, ShardIndex.read(folder))
    assert [line.split(": ")[0].removeprefix(f"{folder}/") for line in lines] == [
        FIRST,
        "shard-000001.tar",
        f"{FIRST}, sample '00001'",
        "shard-000001.tar, sample '00000'",
    ]
    assert "SHA-256 differs" in lines[0]
    assert "the key is also in shard-000000.tar" in lines[3]
    (folder / FIRST).unlink()
    assert "listed in index.json but missing" in faults_of(folder, ShardIndex.read(folder))[0]


def test_an_entry_is_plain_data() -> None:
    assert vars(ShardEntry("a.tar", 1, 2, "c")) == {"name": "a.tar", "samples": 1, "bytes": 2, "sha256": "c"}
