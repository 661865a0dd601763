"""Which controls a metric puts in order: each against the row that is better by construction."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.controls import (
    ANOTHER,
    AUTOENCODER,
    DRIFT,
    FLICKER,
    GROUND_TRUTH,
    LAZY,
    SHIFT,
    SOURCE,
    ZOOM,
)
from keyface.evaluation.scoring.calibration import calibrate
from keyface.evaluation.scoring.orderings import Ordering, order_controls
from keyface.evaluation.scoring.row_scores import ClipScores, RowScores

Rows = Callable[[Mapping[str, Sequence[float]], str], list[RowScores]]


@pytest.fixture
def rows(spec: Callable[..., ClipSpec]) -> Rows:
    """Controls with the given numbers of one metric, one a clip."""

    def make(values: Mapping[str, Sequence[float]], metric: str) -> list[RowScores]:
        specs = tuple(spec(key=f"clip{i}") for i in range(max(map(len, values.values()))))
        clips = ClipSet("made up", 0, "a test", specs, (), Path())
        return [
            RowScores(
                Candidate(name, "control", clips),
                tuple(ClipScores(clip, {metric: value}) for clip, value in zip(specs, numbers, strict=False)),
                (),
            )
            for name, numbers in values.items()
        ]

    return make


def found(rows: list[RowScores]) -> dict[str, Ordering]:
    return {each.control: each for each in order_controls(rows, seed=0)}


def test_each_outcome_by_hand(rows: Rows) -> None:
    """Of a metric where lower is better; the faultless edit scores .3 on each clip."""
    numbers = {
        SOURCE: [0.0, 0.1, 0.0, 0.1],
        GROUND_TRUTH: [0.3, 0.3, 0.3, 0.3],
        FLICKER: [0.5, 0.6, 0.4, 0.5],
        SHIFT: [0.3, 0.3, 0.3, 0.3],
        ZOOM: [0.4, 0.2, 0.5, 0.1],
    }
    orderings = found(rows(numbers, "temporal_loss"))
    assert {name: each.outcome for name, each in orderings.items()} == {
        SOURCE: "reversed", FLICKER: "ordered", SHIFT: "unseen", ZOOM: "unclear"
    }  # fmt: skip
    lead = orderings[FLICKER].lead
    assert (lead.mean, lead.n) == (pytest.approx(0.2), 4)
    assert 0.1 <= lead.low < 0.2 < lead.high <= 0.3
    assert orderings[SOURCE].lead.mean == pytest.approx(-0.25)


def test_where_higher_is_better_the_sign_turns(rows: Rows) -> None:
    orderings = found(rows({GROUND_TRUTH: [1, 1, 1], LAZY: [0.2, 0.3, 0.25]}, "gain"))
    assert orderings[LAZY].outcome == "ordered"
    assert orderings[LAZY].lead.mean == pytest.approx(0.75)


def test_what_a_control_is_compared_with(rows: Rows) -> None:
    names = (SOURCE, AUTOENCODER, GROUND_TRUTH, DRIFT, ANOTHER)
    numbers = {name: [0.1, 0.2] for name in names}
    orderings = found(rows(numbers, "cosine_distance"))
    assert {name: each.better for name, each in orderings.items()} == {
        SOURCE: GROUND_TRUTH, AUTOENCODER: SOURCE, DRIFT: GROUND_TRUTH, ANOTHER: GROUND_TRUTH
    }  # fmt: skip
    del numbers[GROUND_TRUTH]
    orderings = found(rows(numbers, "cosine_distance"))
    assert {name: each.better for name, each in orderings.items()} == {
        AUTOENCODER: SOURCE, DRIFT: SOURCE, ANOTHER: SOURCE
    }  # fmt: skip


def test_clips_are_compared_with_themselves_and_one_says_nothing(rows: Rows) -> None:
    """The row lacks the last clip, on which the faultless edit is far worse."""
    orderings = found(rows({GROUND_TRUTH: [0.1, 0.5, 9.0], DRIFT: [0.2, 0.6]}, "temporal_loss"))
    assert orderings[DRIFT].lead.n == 2
    assert orderings[DRIFT].lead.mean == pytest.approx(0.1)
    alone = found(rows({GROUND_TRUTH: [0.1], DRIFT: [0.2]}, "temporal_loss"))
    assert alone[DRIFT].outcome == "unclear"


def test_a_metric_that_misses_a_fault_of_its_own_is_unfit(rows: Rows) -> None:
    numbers = {SOURCE: [0.1] * 12, GROUND_TRUTH: [0.1] * 12, ANOTHER: [0.5] * 12}
    seeing = calibrate(rows({**numbers, FLICKER: [0.2] * 12}, "temporal_loss"), seed=0)
    assert [(each.metric, each.fit) for each in seeing] == [("temporal_loss", True)]
    (blind,) = calibrate(rows({**numbers, FLICKER: [0.1] * 12}, "temporal_loss"), seed=0)
    assert blind.fit is False
    assert "(rendered) is not clearly better than (flicker): by 0 [0, 0]" in blind.reason


def test_a_fault_of_others_is_not_held_against_a_metric(rows: Rows) -> None:
    """A measure of flicker need not see a lazy edit, and likes it."""
    numbers = {SOURCE: [0.1] * 12, GROUND_TRUTH: [0.2] * 12, LAZY: [0.1] * 12, ANOTHER: [0.5] * 12}
    made = rows({**numbers, FLICKER: [0.3] * 12}, "temporal_loss")
    (verdict,) = calibrate(made, seed=0)
    assert verdict.fit is True
    assert found(made)[LAZY].outcome == "reversed"


def test_few_clips_that_point_the_right_way_are_too_few(rows: Rows) -> None:
    numbers = {SOURCE: [0.1] * 4, GROUND_TRUTH: [0.1] * 4, ANOTHER: [0.5] * 4, FLICKER: [0.2, 0.1, 0.1, 0.1]}
    (verdict,) = calibrate(rows(numbers, "temporal_loss"), seed=0)
    assert verdict.fit is None
    assert "4 clips are too few to tell" in verdict.reason
