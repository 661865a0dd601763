"""A metric must order rows whose order is known, and is called unfit where it does not."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.controls import ANOTHER, AUTOENCODER, INVERSION, SOURCE
from keyface.evaluation.scoring.calibration import Verdict, calibrate
from keyface.evaluation.scoring.row_scores import ClipScores, RowScores
from keyface.evaluation.scoring.summary import summarize

Rows = Callable[[Mapping[str, Sequence[Mapping[str, float]]]], list[RowScores]]


@pytest.fixture
def rows(spec: Callable[..., ClipSpec]) -> Rows:
    """Rows with the given numbers, one mapping a clip; names in parentheses are controls."""

    def make(values: Mapping[str, Sequence[Mapping[str, float]]]) -> list[RowScores]:
        number = max(map(len, values.values()))
        categories = ["glasses", "beard"]
        specs = tuple(
            spec(key=f"clip{i}", identity=f"p{i}", category=categories[i % 2]) for i in range(number)
        )
        clips = ClipSet("made up", 0, "a test", specs, (), Path())
        return [
            RowScores(
                Candidate(name, "control" if name.startswith("(") else "method", clips),
                tuple(ClipScores(clip, scores) for clip, scores in zip(specs, each, strict=False)),
                tuple(clip.key for clip in specs[len(each) :]),
            )
            for name, each in values.items()
        ]

    return make


def distances(*values: float) -> list[dict[str, float]]:
    return [{"cosine_distance/a": value, "cosine_distance/b": value} for value in values]


def verdict(rows: list[RowScores], metric: str) -> Verdict:
    return next(each for each in calibrate(rows, seed=0) if each.metric == metric)


def test_controls_in_order_make_a_metric_fit(rows: Rows) -> None:
    ordered = {
        SOURCE: distances(0, 0, 0, 0),
        AUTOENCODER: distances(0.1, 0.12, 0.09, 0.1),
        INVERSION: distances(0.1, 0.11, 0.1, 0.1),
        ANOTHER: distances(0.9, 1.1, 0.8, 1.0),
    }
    assert verdict(rows(ordered), "cosine_distance") == Verdict("cosine_distance", True)


def test_a_reversed_step_is_named(rows: Rows) -> None:
    reversed_step = {
        SOURCE: distances(0.2, 0.21, 0.2, 0.22),
        AUTOENCODER: distances(0.1, 0.11, 0.1, 0.1),
        ANOTHER: distances(0.9, 1.1, 0.8, 1.0),
    }
    found = verdict(rows(reversed_step), "cosine_distance")
    assert found.fit is False
    assert found.reason.startswith("(autoencoder) scores better than (source) by 0.105")


def test_a_recognizer_that_cannot_tell_people_is_unfit(rows: Rows) -> None:
    blind = {SOURCE: distances(0, 0, 0, 0), ANOTHER: distances(0, 0, 0, 0)}
    found = verdict(rows(blind), "cosine_distance")
    assert found.fit is False
    assert "(source) is not clearly better than (another person)" in found.reason


def test_a_doubtful_reversal_is_not_held_against_a_metric(rows: Rows) -> None:
    noisy = {
        SOURCE: distances(0, 0, 0, 0),
        AUTOENCODER: distances(0.1, 0.3, 0.2, 0.2),
        INVERSION: distances(0.2, 0.2, 0.1, 0.25),
        ANOTHER: distances(0.9, 1.1, 0.8, 1.0),
    }
    assert verdict(rows(noisy), "cosine_distance").fit is True


def test_a_classifier_that_sees_edits_where_there_are_none_is_unfit(rows: Rows) -> None:
    seeing = {SOURCE: [{"edit_success": 0.9}, {"edit_success": 0.4}], ANOTHER: [{"edit_success": 1.0}] * 2}
    found = verdict(rows(seeing), "edit_success")
    assert found.fit is False
    assert "(source) edits nothing and scores 0.65" in found.reason
    honest = {SOURCE: [{"edit_success": 0.0}] * 2, ANOTHER: [{"edit_success": 1.0}] * 2}
    assert verdict(rows(honest), "edit_success").fit is True, "somebody else may look like anything"


def test_without_the_controls_nobody_can_tell(rows: Rows) -> None:
    found = verdict(rows({SOURCE: distances(0, 0), "ours": distances(0.1, 0.2)}), "cosine_distance")
    assert found.fit is None


def test_a_row_is_means_with_intervals_by_recognizer_and_category(rows: Rows) -> None:
    values = [
        {"r_at_1/a": 1.0, "r_at_1/b": 0.0, "edit_success": 1.0},
        {"r_at_1/a": 1.0, "r_at_1/b": 1.0, "edit_success": 0.5},
        {"r_at_1/a": 0.0, "r_at_1/b": 0.0, "edit_success": 0.0},
    ]
    (made,) = rows({"ours": values, "theirs": values[:1]})[:1]
    row = summarize(made, seed=0)
    assert row["method"] == "ours"
    assert row["n"] == 3
    assert row["r_at_1"] == pytest.approx(0.5)
    assert row["edit_success"] == pytest.approx(0.5)
    assert row["by_recognizer"] == {
        "a": {"r_at_1": pytest.approx(2 / 3)},
        "b": {"r_at_1": pytest.approx(1 / 3)},
    }
    low, high = row["intervals"]["edit_success"]
    assert 0 <= low < 0.5 < high <= 1
    glasses = row["by_category"]["glasses"]
    assert (glasses["n"], glasses["edit_success"], glasses["r_at_1"]) == (2, 0.5, 0.25)
    assert glasses["by_recognizer"]["a"]["r_at_1"] == 0.5
    beard = row["by_category"]["beard"]
    assert (beard["n"], beard["edit_success"]) == (1, 0.5)
    assert beard["intervals"] == {}, "one clip says nothing of how sure it is"
    assert summarize(made, seed=0) == row


def test_missing_clips_are_listed_and_not_counted(rows: Rows) -> None:
    theirs = rows({"ours": distances(0.1, 0.2, 0.3), "theirs": distances(0.1)})[1]
    row = summarize(theirs, seed=0)
    assert (row["n"], row["missing"]) == (1, ["clip1", "clip2"])
    assert row["cosine_distance"] == pytest.approx(0.1)
