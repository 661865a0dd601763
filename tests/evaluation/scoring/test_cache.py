"""What was computed is not computed again, unless what it came from changed or the file is damaged."""

from pathlib import Path

import torch

from keyface.evaluation.files import digest
from keyface.evaluation.scoring.cache import ScoreCache


class Counter:
    def __init__(self) -> None:
        self.made = 0

    def numbers(self) -> dict[str, float]:
        self.made += 1
        return {"a": 0.5 * self.made}

    def tensors(self) -> dict[str, torch.Tensor]:
        self.made += 1
        return {"a": torch.full((2, 3), float(self.made)).T}


def test_numbers_are_kept_by_what_they_were_made_from(tmp_path: Path) -> None:
    counter = Counter()
    assert ScoreCache(tmp_path).numbers({"x": 1, "y": 2}, counter.numbers) == {"a": 0.5}
    assert ScoreCache(tmp_path).numbers({"y": 2, "x": 1}, counter.numbers) == {"a": 0.5}, (
        "kept in another process"
    )
    assert ScoreCache(tmp_path).numbers({"x": 1, "y": 3}, counter.numbers) == {"a": 1.0}
    assert counter.made == 2


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    counter = Counter()
    made = ScoreCache(tmp_path).tensors({"x": 1}, counter.tensors)
    kept = ScoreCache(tmp_path).tensors({"x": 1}, counter.tensors)
    assert counter.made == 1
    assert torch.equal(made["a"], kept["a"])


def test_damaged_files_are_made_anew(tmp_path: Path) -> None:
    counter = Counter()
    ScoreCache(tmp_path).numbers({"x": 1}, counter.numbers)
    ScoreCache(tmp_path).tensors({"x": 1}, counter.tensors)
    for file in tmp_path.rglob("*.*"):
        file.write_bytes(file.read_bytes()[:7])
    assert ScoreCache(tmp_path).numbers({"x": 1}, counter.numbers) == {"a": 1.5}
    assert ScoreCache(tmp_path).tensors({"x": 1}, counter.tensors)["a"].max() == 4
    assert not list(tmp_path.rglob("*.part"))


def test_without_a_folder_nothing_is_kept() -> None:
    counter = Counter()
    ScoreCache(None).numbers({"x": 1}, counter.numbers)
    ScoreCache(None).numbers({"x": 1}, counter.numbers)
    assert counter.made == 2


def test_the_order_of_keys_does_not_change_a_digest() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
