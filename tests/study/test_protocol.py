"""A protocol as its author writes it, and what is said of one that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyface.study.protocol import read_protocol

CLIP = {"id": "a", "source": "a.mp4", "edits": ["glasses"]}


def written(folder: Path, **changed: Any) -> Path:
    content = {"schema": "keyface-study/1", "clips": [CLIP]} | changed
    path = folder / "protocol.json"
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def test_what_is_left_out_has_defaults(tmp_path: Path) -> None:
    read = read_protocol(written(tmp_path, exclusion={"failed_checks": 1}))
    (clip,) = read.clips
    assert (clip.id, clip.source, clip.text) == ("a", tmp_path / "a.mp4", "glasses")
    assert (read.design.raters, read.design.practice, read.design.checks) == (50, 2, 2)
    assert read.design.exclusion.words == (
        "a rater counts who answered all trials and failed no attention checks (failed is an unedited clip "
        "with an identity below 7, a broken one with a realism above 4)"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": "keyface-study/9"}, "schema is 'keyface-study/9'; it must be 'keyface-study/1'"),
        ({"clips": None}, "needs a list of clips"),
        ({"clips": []}, "clips has 0"),
        ({"clips": ["a.mp4"]}, "clip 1: is 'a.mp4'; it must be an object"),
        ({"clips": [CLIP, CLIP | {"id": "A"}]}, "clip A: its id occurs twice"),
        ({"clips": [CLIP | {"id": "../a"}]}, "clip 1: id is '../a'"),
        ({"clips": [CLIP | {"prompt": "old"}]}, "clip 1: give prompt or edits"),
        ({"clips": [{"id": "a", "source": "a.mp4"}]}, "clip 1: give prompt or edits"),
        ({"clips": [CLIP | {"soruce": "b"}]}, "clip 1: unknown name 'soruce' (did you mean 'source'?)"),
        ({"clips": [{"id": "a", "source": "a.mp4", "prompt": "a\nb"}]}, "it must be one line"),
        ({"raters": 0}, "raters is 0; it must be from 1 to 10000"),
        ({"raters": "many"}, "raters"),
        ({"practice": -1}, "practice is -1"),
        ({"titel": "x"}, "unknown name 'titel' (did you mean 'title'?)"),
        ({"exclusion": {"answered_at_least": 1.5}}, "answered_at_least is 1.5; it must be from 0 to 1"),
        ({"exclusion": {"broken_realism_at_most": 0}}, "broken_realism_at_most is 0"),
        ({"checks": 0}, "nobody could be left out"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(ValueError, match="^" + str(path).replace(".", r"\.")) as raised:
        read_protocol(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text("schema: keyface-study/1\nclips:\n  - {id: a, source: a.mp4, edits: [glasses]}\n")
    assert read_protocol(path) == read_protocol(written(tmp_path))
    path.write_text("schema: keyface-study/1\nclips:\n  - {id: a, source: a.mp4, sources: b}\n")
    with pytest.raises(ValueError, match="clip 1: unknown name 'sources'"):
        read_protocol(path)
    with pytest.raises(FileNotFoundError):
        read_protocol(tmp_path / "none.yaml")


def test_no_file_is_no_protocol(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such protocol"):
        read_protocol(tmp_path / "none.json")
