"""Crops over time: without jitter, without delay."""

import math

import numpy as np
import torch
from torch import Tensor

WINDOW_SECONDS = 0.36
"""Landmarks jitter from frame to frame, heads nod at 1 to 2 Hz: longer windows lag behind nods."""

FADE_SECONDS = 0.12

_SIGMAS = 6.0
"""Standard deviations of the Gaussian that fit into its window."""

_WIDER = (1.0, 1.0, 3.0, 1.5)
"""Windows of x, y, side and roll: a head's size changes slowly."""

_ROWS = 512
_STEP_PIXELS, _STEP_RADIANS = 1 / 64, 1e-4


def smooth_squares(squares: Tensor, seconds: Tensor, window_seconds: float = WINDOW_SECONDS) -> Tensor:
    """Smooth the squares of consecutive frames of one shot, with zero phase.

    At each time a line is fitted to the neighbours, weighted by a Gaussian; its value there is taken. So time
    stamps need not be even, and the first and the last frames are not pulled towards the middle. Results are
    rounded to 1/64 pixel, so that the last bits of a network's output do not decide anything.

    Args:
        squares: (n, 4), oriented.
        seconds: (n,), ascending.
        window_seconds: How much time counts; 0 leaves the squares as they are.

    Returns:
        (n, 4).
    """
    values = squares.double().clone()
    values[:, 3] = torch.from_numpy(np.unwrap(values[:, 3].numpy()))
    times = seconds.double()
    if window_seconds > 0:
        values = torch.stack(
            [
                _fit_lines(times, values[:, column], wider * window_seconds / _SIGMAS)
                for column, wider in enumerate(_WIDER)
            ],
            dim=1,
        )
    steps = torch.tensor([_STEP_PIXELS] * 3 + [_STEP_RADIANS], dtype=torch.float64)
    return ((values / steps).round() * steps).float()


def _fit_lines(times: Tensor, values: Tensor, sigma: float) -> Tensor:
    """Return the value at each time of the line that fits the neighbours best."""
    fitted = []
    reach = 4 * sigma
    for start in range(0, len(times), _ROWS):
        own = times[start : start + _ROWS]
        first = int(torch.searchsorted(times, own[0] - reach))
        last = int(torch.searchsorted(times, own[-1] + reach, right=True))
        apart = times[first:last][None] - own[:, None]
        weights = torch.exp(-0.5 * (apart / sigma) ** 2)
        moment0, moment1, moment2 = ((weights * apart**power).sum(1, keepdim=True) for power in (0, 1, 2))
        spread = moment0 * moment2 - moment1**2
        lonely = spread < 1e-6 * sigma**2 * moment0**2
        line = weights * (moment2 - moment1 * apart) / spread.clamp_min(1e-30)
        mean = weights / moment0
        fitted.append((torch.where(lonely, mean, line) * values[first:last]).sum(1))
    return torch.cat(fitted)


def fades(seconds: Tensor, begins: bool, ends: bool, fade_seconds: float = FADE_SECONDS) -> Tensor:
    """Return how much of an edit shows in each frame, (n,) in (0, 1].

    Args:
        seconds: (n,), ascending.
        begins: Whether it fades in at the beginning.
        ends: Whether it fades out at the end.
        fade_seconds: How long that takes; at least three frames.
    """
    shown = torch.ones(len(seconds))
    if len(seconds) < 2:
        return shown
    step = float((seconds[1:] - seconds[:-1]).median())
    duration = max(fade_seconds, 3 * step) + step
    for wanted, since in ((begins, seconds - seconds[0]), (ends, seconds[-1] - seconds)):
        if wanted:
            share = ((since.double() + step) / duration).clamp(max=1)
            shown = torch.minimum(shown, (0.5 - 0.5 * torch.cos(math.pi * share)).float())
    return shown
