import math

import pytest
import torch
from torch import nn

from keyface.lightning_modules.optim import Schedule, WarmupCosine, WarmupLinear


def test_warm_up_flat_and_half_cosine() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosine(optimizer, total_steps=20, warmup=0.15, flat=0.5, final=0.1)
    rates = []
    for _ in range(22):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4:11] == pytest.approx([2.0] * 7)
    assert rates[15] == pytest.approx(2 * (0.1 + 0.9 * 0.5))
    assert rates[12] == pytest.approx(2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.2))))
    assert rates[20:] == pytest.approx([0.2, 0.2])


def schedule_of(kind: type[Schedule], *arguments: float, **more: float) -> Schedule:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    optimizer.step()  # before the schedule's first, as it warns otherwise
    return kind(optimizer, *arguments, **more)


def test_a_cosine_without_settings_falls_from_the_first_step_to_zero() -> None:
    schedule = schedule_of(WarmupCosine, 10)
    assert [schedule.factor(step) for step in (0, 5, 10)] == pytest.approx([1.0, 0.5, 0.0])
    whole = schedule_of(WarmupCosine, 10, 0.3, 1.0, 0.2)
    assert [whole.factor(step) for step in (0, 2, 3, 9, 10, 11)] == pytest.approx([0.25, 0.75, 1, 1, 1, 0.2])


def test_a_linear_without_settings() -> None:
    """200 steps up, level to three fifths of the run, and down."""
    schedule = schedule_of(WarmupLinear, 1000)
    rates = [schedule.factor(step) for step in (0, 99, 199, 200, 600, 800, 1000, 1100)]
    assert rates == pytest.approx([0.005, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0])
    level = schedule_of(WarmupLinear, 1000, warmup=0, flat=1.0)
    assert [level.factor(step) for step in (0, 999, 1000)] == pytest.approx([1.0, 1.0, 0.0])


def test_by_time_the_warm_up_ends_by_steps_or_by_the_clock() -> None:
    linear = schedule_of(WarmupLinear, -1, warmup=4)
    linear.fraction = 0.0
    assert [linear.factor(step) for step in (0, 1, 3, 9)] == pytest.approx([0.25, 0.5, 1.0, 1.0])
    cosine = schedule_of(WarmupCosine, -1, 0.2, 0.1, 0.5)
    assert cosine.factor(0) == 0.0
    rates = []
    for cosine.fraction in (0.0, 0.05, 0.2, 0.6, 1.0):
        rates.append(cosine.factor(7))
    assert rates == pytest.approx([0.0, 0.25, 1.0, 0.75, 0.5])


def test_a_schedule_must_say_its_rate() -> None:
    with pytest.raises(NotImplementedError, match="Schedule must say its rate"):
        schedule_of(Schedule, 10)


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (1.1, 0.0), (0.0, -0.1), (0.0, 1.1)])
def test_fractions_beyond_a_run_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"warmup {fractions[0]}, flat {fractions[1]}"):
        schedule_of(WarmupCosine, 10, *fractions)
    assert schedule_of(WarmupCosine, 1, 1.0, 1.0).factor(0) == 0.5


@pytest.mark.parametrize(("total_steps", "warmup"), [(0, 0.1), (-2, 0.1), (10, 20.0)])
def test_impossible_schedules_are_refused(total_steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=f"total_steps is {total_steps}, warmup {warmup}"):
        WarmupCosine(optimizer, total_steps, warmup)


def test_linear_by_steps_rises_stays_and_falls() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupLinear(optimizer, 100, warmup=10, flat=0.5)
    assert [schedule.factor(step) for step in (0, 9, 49, 75, 100)] == pytest.approx([0.1, 1, 1, 0.5, 0])


def rates_over(schedule: Schedule, fractions: list[float]) -> list[float]:
    """Return the rates of steps before which these parts of the time are over."""
    rates = []
    for fraction in fractions:
        schedule.fraction = fraction
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


def test_schedules_by_time_follow_the_clock_and_not_the_steps() -> None:
    """Few steps or many: at half of the time the rate is that of the middle of the run."""
    for steps in (10, 1000):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
        cosine = WarmupCosine(optimizer, -1, warmup=0.1, flat=0.5)
        rates = rates_over(cosine, [part / steps for part in range(steps + 1)])
        assert rates[steps // 2] == pytest.approx(2.0)
        assert rates[steps * 3 // 4] == pytest.approx(
            1 + math.cos(math.pi * (steps * 3 // 4 / steps * 2 - 1))
        )
        assert rates[-1] == pytest.approx(0.0, abs=1e-6)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = WarmupLinear(optimizer, -1, warmup=200, flat=0.5)
    # 2.5 % of the time are over: half of the longest warm-up, of which 200 steps would be the other limit.
    assert rates_over(linear, [0.025, 0.05, 0.5, 0.75, 1.0]) == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])


def test_a_schedule_by_time_is_resumed_where_it_was() -> None:
    first, second = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    left, taken_up = WarmupLinear(first, -1, flat=0.5), WarmupLinear(second, -1, flat=0.5)
    rates_over(left, [0.4, 0.75])
    taken_up.load_state_dict(left.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == pytest.approx(0.5)
    assert rates_over(taken_up, [0.8]) == rates_over(left, [0.8])
    assert second.param_groups[0]["lr"] == pytest.approx(0.4)


def test_a_run_without_any_limit_is_refused() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosine(optimizer, -1)
    optimizer.step()
    with pytest.raises(ValueError, match="give a number of steps, or add the callback"):
        schedule.step()
