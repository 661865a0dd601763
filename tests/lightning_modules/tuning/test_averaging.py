import pytest
import torch
from torch import nn

from keyface.lightning_modules.tuning.averaging import ExponentialMovingAverage


def test_average_follows_the_formula_with_its_growing_decay() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    ema = ExponentialMovingAverage([parameter], decay=0.5)
    expected = None
    for update, value in enumerate([1.0, 2.0, 5.0, 3.0, 9.0, 4.0, 4.0, 8.0, 0.0, 1.0, 2.0, 3.0]):
        parameter.data.fill_(value)
        ema.update([parameter])
        decay = min(0.5, (1 + update) / (10 + update))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    (average,) = ema.parameters()
    torch.testing.assert_close(average, torch.tensor([expected]))
    assert not average.requires_grad


def test_applied_swaps_in_and_back_even_after_an_error() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    ema = ExponentialMovingAverage([parameter], decay=0.9)
    parameter.data.fill_(3.0)

    def fail() -> None:
        with ema.applied([parameter]):
            assert parameter.item() == 1.0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert parameter.item() == 3.0
    assert next(ema.parameters()).item() == 1.0


def test_state_comes_back() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    ema = ExponentialMovingAverage([parameter], decay=0.9)
    for value in (1.0, 4.0):
        parameter.data.fill_(value)
        ema.update([parameter])
    other = ExponentialMovingAverage([nn.Parameter(torch.zeros(1))], decay=0.9)
    other.load_state_dict(ema.state_dict())
    assert torch.equal(next(other.parameters()), next(ema.parameters()))
    assert other.n_averaged == 2
    parameter.data.fill_(10.0)
    for each in (ema, other):
        each.update([parameter])
    assert torch.equal(next(other.parameters()), next(ema.parameters()))
    assert other.n_averaged == 3


def test_decay_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="ema_decay is 1"):
        ExponentialMovingAverage([nn.Parameter(torch.zeros(1))], decay=1.0)
