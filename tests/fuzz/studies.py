"""What comes from outside in an opinion study: its protocol, and answers of strangers."""

import json
from collections.abc import Sequence
from pathlib import Path

STUDIES = [
    {
        "schema": "keyface-study/1",
        "title": "Faces",
        "raters": 20,
        "seed": 3,
        "practice": 1,
        "checks": 2,
        "exclusion": {"failed_checks": 2, "answered_at_least": 0.5},
        "clips": [
            {"id": "a", "source": "a.mp4", "edits": ["glasses", "beard"]},
            {"id": "b", "source": "b.mp4", "prompt": "an old man"},
        ],
    }
]
_STUDY = "0" * 32


def answers() -> Sequence[bytes]:
    """Somebody who begins, and an answer."""
    head = {"study": _STUDY, "rater": "0123456789abcdef" * 2, "booklet": 1}
    answer = head | {"trial": 1, "realism": 7, "identity": 10, "seconds": 4.5}
    return [json.dumps(each).encode() for each in (head, answer)]


def read_study(folder: Path, data: bytes) -> None:
    """Read the protocol of a study."""
    from keyface.study.protocol import read_protocol

    path = folder / "input.yaml"
    path.write_bytes(data)
    assert read_protocol(path).clips


def read_answers(folder: Path, data: bytes) -> None:
    """Read a file of answers to a study of one clip and two methods, more than its last line."""
    from keyface.study.answers import gather
    from keyface.study.folder import Study, Trial
    from keyface.study.protocol import Exclusion

    trials = Trial("a", "ours"), Trial("a", "other")
    study = Study(
        folder, _STUDY, "Faces", Exclusion(), ("ours", "other"), trials, ((0, 1), (1, 0)), frozenset()
    )
    path = folder / "input.jsonl"
    path.write_bytes(data + b"\n")
    for rater in gather([path], study).values():
        assert all(1 <= answer.realism <= 10 for answer in rater.answers.values())
