"""A fixed square in place of a face."""

import pytest
import torch

from keyface.pipeline.request.square import Crop


def test_squares_of_a_fixed_crop() -> None:
    assert Crop.parse("centre", 44, 60) == Crop(8, 0, 44)
    crop = Crop.parse("10, 4, 32", 44, 60)
    assert torch.equal(crop.squares(2), torch.tensor([[26.0, 20.0, 32.0, 0.0]] * 2))
    for text, message in (("1,2", "three whole numbers"), ("0,0,10", "16 pixels"), ("30,0,44", "60x44")):
        with pytest.raises(ValueError, match=message):
            Crop.parse(text, 44, 60)
