import math

import pytest
import torch

from keyface.metrics.psnr import psnr_of_error


def test_of_known_errors():
    """A difference of .2 of a range of 2 is a tenth of it: 20 dB; of a range of 1, a fifth: 13.98 dB."""
    errors = torch.tensor([0.04, 4.0, 0.0], dtype=torch.float64)
    assert psnr_of_error(errors).tolist() == pytest.approx([20.0, 0.0, math.inf])
    assert psnr_of_error(errors[0], value_range=1.0).item() == pytest.approx(-20 * math.log10(0.2))
