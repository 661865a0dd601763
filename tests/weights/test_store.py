"""What is in the folder of weights, and whether it is what it should be."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from keyface.weights import MissingWeightsError, Store, WeightFile
from keyface.weights.store import LOCK


def put(store: Store, name: str, content: bytes = b"weights") -> Path:
    path = store.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_folder_is_models_or_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYFACE_WEIGHTS", raising=False)
    assert Store().root == Path("models")
    monkeypatch.setenv("KEYFACE_WEIGHTS", "/data/weights")
    assert Store().root == Path("/data/weights")


def test_all_missing_files_are_listed_at_once(store: Store) -> None:
    put(store, "stable-diffusion-2-1-base/unet/config.json")
    with pytest.raises(MissingWeightsError) as error:
        store.require(["arcface", "stable-diffusion-2-1-base", "clip-vit-b-16"])
    message = str(error.value)
    assert "arcface/w600k_r50.onnx" in message
    assert "and 9 more" in message, "ten of eleven are missing"
    assert "clip-vit-b-16" in message
    assert "`keyface weights get arcface stable-diffusion-2-1-base clip-vit-b-16`" in message
    assert "\n" not in message
    put(store, "arcface/w600k_r50.onnx")
    assert store.require(["arcface"]) == {"arcface": store.root / "arcface"}


def test_published_hashes_decide(store: Store, make_entry: Any) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    entry = make_entry(url="somewhere", files=(WeightFile("net.onnx", sha256=digest),))
    assert [each.verdict for each in store.verify(entry)] == ["missing"]
    put(store, "net/net.onnx")
    assert [each.verdict for each in store.verify(entry)] == ["as published"]
    put(store, "net/net.onnx", b"other weights")
    (checked,) = store.verify(entry)
    assert checked.verdict == "differs"
    assert checked.expected == digest
    assert not (store.root / LOCK).exists(), "there is nothing to pin where a hash is published"


def test_without_a_published_hash_the_first_copy_is_pinned(store: Store, make_entry: Any) -> None:
    entry = make_entry(url="somewhere")
    put(store, "net/net.onnx")
    assert [each.verdict for each in store.verify(entry, pin=False)] == ["pinned now"]
    assert not (store.root / LOCK).exists()
    assert [each.verdict for each in store.verify(entry)] == ["pinned now"]
    assert [each.verdict for each in store.verify(entry)] == ["as pinned"]
    put(store, "net/net.onnx", b"other weights")
    assert [each.verdict for each in store.verify(entry)] == ["differs"]
    pins = json.loads((store.root / LOCK).read_text())
    assert pins == {"net": {"net.onnx": hashlib.sha256(b"weights").hexdigest()}}


def test_the_first_digits_of_a_hash_count(store: Store, make_entry: Any) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    put(store, "net/net.onnx")
    right = make_entry(url="somewhere", files=(WeightFile("net.onnx", sha256_starts=digest[:8]),))
    wrong = make_entry(url="somewhere", files=(WeightFile("net.onnx", sha256_starts="00000000"),))
    assert [each.verdict for each in store.verify(wrong)] == ["differs"]
    assert [each.verdict for each in store.verify(right)] == ["pinned now"]


def test_an_index_adds_its_files(store: Store, make_entry: Any) -> None:
    entry = make_entry(hub="a/b", files=(WeightFile("model.safetensors.index.json", index=True),))
    index = store.root / "net/model.safetensors.index.json"
    assert store.missing(entry) == [index]
    shards = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    put(store, "net/model.safetensors.index.json", json.dumps({"weight_map": shards}).encode())
    assert [path.name for path in store.missing(entry)] == sorted(shards.values())
    put(store, "net/model-00001-of-00002.safetensors")
    assert [path.name for path in store.missing(entry)] == ["model-00002-of-00002.safetensors"]
    for hostile in ("../x.safetensors", "/x.safetensors", "x.bin"):
        put(store, "net/model.safetensors.index.json", json.dumps({"weight_map": {"a": hostile}}).encode())
        with pytest.raises(ValueError, match="no safetensors file beside it"):
            store.missing(entry)
    put(store, "net/model.safetensors.index.json", b"[")
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        store.missing(entry)


def test_a_damaged_lock_file_is_named(store: Store, make_entry: Any) -> None:
    put(store, LOCK, b'{"net": 3}')
    with pytest.raises(ValueError, match="no file of pinned hashes"):
        store.verify(make_entry(url="somewhere"))
