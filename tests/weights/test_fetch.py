"""Fetching, from a server on this machine: what comes, what is refused, and that nothing is tried twice."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from keyface.weights import MissingWeightsError, Store, WeightFile
from keyface.weights.fetch import Fetcher

CONTENT = b"weights of a network"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def fetcher(store: Store) -> tuple[Fetcher, list[str]]:
    said: list[str] = []
    return Fetcher(store, said.append), said


def leftovers(store: Store) -> list[Path]:
    return list(store.root.glob(".*"))


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_file_is_fetched_checked_and_not_fetched_again(
    store: Store, publisher: Any, make_entry: Any
) -> None:
    publisher.files["/net.onnx"] = CONTENT
    entry = make_entry(url=f"{publisher.address}/net.onnx", files=(WeightFile("net.onnx", sha256=DIGEST),))
    fetch, said = fetcher(store)
    fetch.get([entry])
    assert (store.root / "net/net.onnx").read_bytes() == CONTENT
    assert "MIT" in said[0], "the licence is said before anything comes"
    fetch.get([entry])
    assert publisher.asked == ["/net.onnx"]
    assert not leftovers(store)


@pytest.mark.parametrize("damage", ["other bytes", "cut", "gone"])
def test_what_is_not_as_published_is_not_kept(
    damage: str, store: Store, publisher: Any, make_entry: Any
) -> None:
    publisher.files = {} if damage == "gone" else {"/net.onnx": CONTENT + b"!" * (damage == "other bytes")}
    publisher.cut = damage == "cut"
    entry = make_entry(url=f"{publisher.address}/net.onnx", files=(WeightFile("net.onnx", sha256=DIGEST),))
    fetch, _ = fetcher(store)
    with pytest.raises(MissingWeightsError, match=r"net\.onnx"):
        fetch.get([entry])
    assert not (store.root / "net").exists()
    assert len(leftovers(store)) == (damage == "cut"), "the half that came is kept for the next time"


def test_a_pack_gives_only_what_is_wanted(store: Store, publisher: Any, make_entry: Any) -> None:
    members = {"buffalo/net.onnx": CONTENT, "buffalo/detector.onnx": b"other", "../evil.onnx": b"evil"}
    publisher.files["/pack.zip"] = zipped(members)
    entry = make_entry(
        url=f"{publisher.address}/pack.zip",
        archive_sha256=hashlib.sha256(publisher.files["/pack.zip"]).hexdigest(),
        files=(WeightFile("net.onnx", sha256=DIGEST),),
    )
    fetch, _ = fetcher(store)
    fetch.get([entry])
    assert sorted(path.name for path in store.root.rglob("*") if path.is_file()) == ["net.onnx"]
    assert not (store.root.parent / "evil.onnx").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"a/net.onnx": CONTENT, "b/net.onnx": CONTENT}), "2 files called net.onnx"),
        (zipped({"other.onnx": CONTENT}), "0 files called net.onnx"),
        (b"a page instead", "no zip archive came"),
    ],
)
def test_other_packs_are_refused(
    content: bytes, message: str, store: Store, publisher: Any, make_entry: Any
) -> None:
    publisher.files["/pack.zip"] = content
    fetch, _ = fetcher(store)
    with pytest.raises(MissingWeightsError, match=message):
        fetch.get([make_entry(url=f"{publisher.address}/pack.zip")])
    digest = "0" * 64
    with pytest.raises(MissingWeightsError, match=r"pack\.zip: sha256 \w+ came, 0+ was published"):
        fetch.get([make_entry(url=f"{publisher.address}/pack.zip", archive_sha256=digest)])


def test_without_a_network_each_host_is_tried_once_and_all_failures_come_together(
    store: Store, make_entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    nobody = "http://127.0.0.1:9"  # the port of "discard": nothing listens there
    entries = [
        make_entry(name="one", url=f"{nobody}/one.onnx"),
        make_entry(name="two", url=f"{nobody}/two.onnx"),
        make_entry(name="three", hub="owner/three"),
        make_entry(name="four", hub="owner/four"),
    ]
    fetch, said = fetcher(store)
    with pytest.raises(MissingWeightsError) as error:
        fetch.get(entries)
    for name in ("one", "two", "three", "four"):
        assert f"{name} (" in str(error.value)
    assert "`keyface weights get one two three four`" in str(error.value)
    assert set(fetch.unreachable) == {"127.0.0.1:9", "hub"}
    assert sum("Connection refused" in line for line in said) == 2, "said of both, asked once"


def test_a_repository_of_the_hub_comes_with_the_files_of_its_index(
    store: Store, hub: Any, publish: Any, make_entry: Any
) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": index,
        "model-1.safetensors": CONTENT,
        "model-2.safetensors": CONTENT * 2,
        "pytorch_model.bin": b"\x80\x04.",
        "README.md": b"card",
    }
    publish(hub, files)
    entry = make_entry(
        hub="owner/name",
        files=(WeightFile("config.json"), WeightFile("model.safetensors.index.json", index=True)),
    )
    fetch, _ = fetcher(store)
    fetch.get([entry])
    found = sorted(path.name for path in store.folder(entry).rglob("*") if path.is_file())
    assert found == [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ]
    assert store.missing(entry) == []
    assert not any("pytorch_model" in path for path in hub.asked), "pickles are not even fetched"
    assert [each.verdict for each in store.verify(entry)] == ["as pinned"] * 4


def test_a_hub_without_the_file_or_the_repository(
    store: Store, hub: Any, publish: Any, make_entry: Any
) -> None:
    publish(hub, {"config.json": b"{}"})
    fetch, _ = fetcher(store)
    with pytest.raises(MissingWeightsError, match=r"owner/name has no net\.onnx"):
        fetch.get([make_entry(hub="owner/name")])
    with pytest.raises(MissingWeightsError, match="the model hub gives no owner/other"):
        fetch.get([make_entry(hub="owner/other")])
    assert "hub" not in fetch.unreachable, "it did answer"
