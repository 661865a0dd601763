import math

import pytest
import torch
from torch import nn

from keyface.lightning_modules.optim import WarmupCosine


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


@pytest.mark.parametrize(("total_steps", "warmup"), [(-1, 0.1), (10, 20.0)])
def test_impossible_schedules_are_refused(total_steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=f"total_steps is {total_steps}, warmup {warmup}"):
        WarmupCosine(optimizer, total_steps, warmup)
