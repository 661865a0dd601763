import numpy as np
import pytest

from keyface.metrics.intervals import Interval, bootstrap_interval


def test_of_ones_and_zeros_it_is_close_to_the_binomial() -> None:
    """48 of 50 found: the draws are Binomial(50, .96); its central 95 % are 45 and 50 of 50."""
    interval = bootstrap_interval([1.0] * 48 + [0.0] * 2, seed=0)
    assert interval.mean == pytest.approx(0.96)
    assert interval.n == 50
    assert (interval.low, interval.high) == (pytest.approx(0.90), pytest.approx(1.0))


def test_of_many_values_it_is_close_to_the_normal() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, size=400)
    interval = bootstrap_interval(values.tolist(), seed=1)
    error = values.std() / 400**0.5
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)
    narrower = bootstrap_interval(values.tolist(), seed=1, confidence=0.5)
    assert interval.low is not None
    assert narrower.low is not None
    assert interval.low < narrower.low


def test_the_seed_decides() -> None:
    values = [0.1, 0.5, 0.9, 0.3]
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4, resamples=99) != bootstrap_interval(
        values, seed=5, resamples=99
    )


def test_the_seed_and_the_number_of_draws_decide_every_digit() -> None:
    values = np.random.default_rng(5).normal(size=30).tolist()
    few = [bootstrap_interval(values, seed=4, resamples=99) for _ in range(2)]
    assert few[0] == few[1]
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4, resamples=9999) != few[0]
    assert bootstrap_interval([0.25], seed=0, confidence=0.5) == Interval(0.25, None, None, 1, 0.5)


def test_equal_values_and_single_ones() -> None:
    assert bootstrap_interval([0.25] * 6, seed=0) == Interval(0.25, 0.25, 0.25, 6)
    alone = bootstrap_interval([0.25], seed=0)
    assert alone == Interval(0.25, None, None, 1)
    assert str(alone) == "0.250 (n=1)"
    assert str(Interval(0.5, 0.25, 0.75, 8)) == "0.500 [0.250, 0.750] (n=8)"


def test_nothing_and_nonsense_have_no_interval() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        bootstrap_interval([], seed=0)
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_interval([1.0, float("nan")], seed=0)
