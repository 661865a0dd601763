"""The shipped list of weights, and what an entry may not be."""

from pathlib import Path
from typing import Any

import open_clip
import pytest

from keyface.weights import WeightFile, catalogue
from keyface.weights.catalogue import find_entry


def test_every_kind_of_weights_that_the_paper_needs_is_there() -> None:
    kinds = {entry.kind for entry in catalogue().values()}
    assert kinds == {"backbone", "recognizer", "faces", "clip", "captioner", "flow", "parser"}
    assert {"arcface", "cosface", "facenet", "vggface", "face-api"} <= catalogue().keys()


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_entry_says_what_a_user_must_know(name: str) -> None:
    entry = catalogue()[name]
    assert entry.title
    assert entry.without
    assert entry.licence
    assert entry.licence_url.startswith("https://")
    assert len({file.path for file in entry.files}) == len(entry.files)
    pickles = [file for file in entry.files if Path(file.path).suffix in (".pt", ".pth", ".ckpt", ".bin")]
    assert all(file.sha256 or file.sha256_starts for file in pickles), (
        "what could hold code has a published hash"
    )
    if entry.kind == "clip":
        assert entry.model in open_clip.list_models()
    if entry.kind == "backbone":
        assert len(entry.revision) == 40, "a hub's branch may change"


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(LookupError, match="did you mean 'arcface'"):
        find_entry("arcfase")
    with pytest.raises(LookupError, match="there are stable-diffusion"):
        find_entry("zzz")


def test_wrong_entries_are_refused(make_entry: Any) -> None:
    with pytest.raises(ValueError, match="give one of hub, url and npm"):
        make_entry()
    with pytest.raises(ValueError, match="give one of hub, url and npm"):
        make_entry(hub="a/b", npm="c@1")
    with pytest.raises(ValueError, match="unknown kind"):
        make_entry(hub="a/b", kind="spell")
    with pytest.raises(ValueError, match="have no files"):
        make_entry(hub="a/b", files=())
    for path in ("../net.onnx", "/net.onnx", ""):
        with pytest.raises(ValueError, match="outside its folder"):
            WeightFile(path)
    with pytest.raises(ValueError, match="is no sha256"):
        WeightFile("net.onnx", sha256="ABC")
