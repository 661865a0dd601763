"""Peak signal-to-noise ratio of a mean squared error."""

import torch
from torch import Tensor


def psnr_of_error(mean_squared_error: Tensor, value_range: float = 2.0) -> Tensor:
    """Return the peak signal-to-noise ratio in dB; infinite where nothing differs.

    Args:
        mean_squared_error: Of any shape.
        value_range: Largest possible difference of two values: 2 for images in [-1, 1].
    """
    return -10.0 * torch.log10(mean_squared_error / value_range**2)
