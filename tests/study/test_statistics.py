"""Agreement against published examples, and intervals against raters whose true scores are known."""

import math
import os

import numpy as np
import pytest
from scipy.stats import norm

from keyface.study.statistics import Scores, crossed_interval, krippendorff_alpha

X = math.nan

# K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), C: four observers, twelve units.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
        [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
    ]
)

# Wikipedia, "Krippendorff's alpha": three coders, fifteen units.
ENCYCLOPEDIA = np.array(
    [
        [X, X, X, X, X, 3, 4, 1, 2, 1, 1, 3, 3, X, 3],
        [1, X, 2, 1, 3, 3, 4, 3, X, X, X, X, X, X, X],
        [X, X, 2, 1, 3, 4, 4, X, 2, 1, 1, 3, 3, X, 4],
    ]
)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorffs_example(level: str, published: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(published, abs=5e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.691), ("interval", 0.811)])
def test_alpha_of_the_encyclopedias_example(level: str, published: float) -> None:
    assert krippendorff_alpha(ENCYCLOPEDIA, level) == pytest.approx(published, abs=5e-4)  # type: ignore[arg-type]


def test_alpha_where_it_says_nothing() -> None:
    assert krippendorff_alpha(np.array([[1.0, X], [X, 2.0]]), "interval") is None
    assert krippendorff_alpha(np.full((3, 4), 5.0), "ordinal") is None
    assert krippendorff_alpha(np.tile(np.arange(1.0, 6), (3, 1)), "ordinal") == 1.0
    drawn = np.random.default_rng(0).integers(1, 11, (40, 200)).astype(float)
    assert krippendorff_alpha(drawn, "ordinal") == pytest.approx(0, abs=0.01)


def rated(rng: np.random.Generator, raters: int, clips: int, centre: float) -> Scores:
    """Scores 1 to 10: raters are severe or mild, clips easy or hard, and each likes some clips better."""
    return np.clip(
        np.round(
            centre
            + rng.normal(0, 1.0, (raters, 1))
            + rng.normal(0, 0.8, (1, clips))
            + rng.normal(0, 1.2, (raters, clips))
        ),
        1,
        10,
    )


def true_mean(centre: float) -> float:
    """Expected score of `rated`, exactly: a rounded and clipped normal variable."""
    spread = math.sqrt(1.0**2 + 0.8**2 + 1.2**2)
    above = norm.sf([value - 0.5 for value in range(2, 11)], centre, spread)
    return 1 + float(above.sum())


RUNS = int(os.environ.get("KEYFACE_STUDY_RUNS", "100"))


@pytest.mark.parametrize(("raters", "clips"), [(50, 20), (50, 6), (15, 10), (50, 3)])
def test_intervals_hold_the_true_mean_as_often_as_they_say(raters: int, clips: int) -> None:
    """In at least 93 of 100 studies the interval holds what an endless study would find."""
    rng = np.random.default_rng(2501)
    truth = true_mean(6.3)
    held, widths = 0, []
    for study in range(RUNS):
        found = crossed_interval(rated(rng, raters, clips, 6.3), seed=study, draws=999)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    print(f"| {raters} | {clips} | {held / RUNS:.1%} | {np.mean(widths):.2f} |")
    assert held >= 0.93 * RUNS
    # Two standard errors to both sides, and a little more where there are few.
    exact = 2 * 1.96 * math.sqrt(1.0 / raters + 0.64 / clips + 1.44 / (raters * clips))
    assert np.mean(widths) < 1.4 * exact


def test_an_interval_over_raters_alone_would_be_far_too_narrow() -> None:
    """What is drawn decides: with clips as they are, most studies would miss the truth."""
    rng = np.random.default_rng(7)
    truth, held = true_mean(6.3), 0
    for _ in range(100):
        means = rated(rng, 50, 6, 6.3).mean(axis=1)
        half = 1.96 * means.std(ddof=1) / math.sqrt(50)
        held += abs(means.mean() - truth) <= half
    assert held < 80


def test_differences_of_the_same_raters_and_clips_are_surer_than_the_methods() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1.5, (50, 1)) + rng.normal(0, 1.5, (1, 10))
    first, second = (centre + common + rng.normal(0, 0.5, (50, 10)) for centre in (6.0, 5.5))
    whole, apart = crossed_interval(first, 0), crossed_interval(first - second, 0)
    assert apart.low is not None
    assert apart.high is not None
    assert whole.low is not None
    assert whole.high is not None
    assert 0 < apart.low < 0.5 < apart.high < whole.high - whole.low


def test_the_mean_is_of_the_scores_that_there_are() -> None:
    scores = np.array([[8.0, X, 4.0], [X, X, 6.0], [X, X, X]])
    found = crossed_interval(scores, 0)
    assert (found.mean, found.n) == (6.0, 3)
    assert found.low is not None
    assert 4 <= found.low <= 6


def test_few_scores_have_wider_intervals_or_none() -> None:
    alone = crossed_interval(np.array([[7.0]]), 0)
    assert (alone.mean, alone.low, alone.high, alone.n) == (7.0, None, None, 1)
    one_rater = crossed_interval(np.array([[5.0, 6.0, 7.0, 8.0]]), 0)
    assert one_rater.low is not None
    assert 5 <= one_rater.low < 6
    with pytest.raises(ValueError, match="nobody's answers"):
        crossed_interval(np.full((2, 2), X), 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = rated(np.random.default_rng(1), 8, 5, 5.0)
    assert crossed_interval(scores, 3) == crossed_interval(scores, 3)
    assert crossed_interval(scores, 3) != crossed_interval(scores, 4)
