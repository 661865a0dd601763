"""Random crops before the encoder of Eq. 6."""

from typing import Any

import pytest
import torch

from keyface.lightning_modules.clip_crops import CroppedEncoder


def test_crops_are_shared_until_they_are_drawn_again(encoder: Any) -> None:
    cropped = CroppedEncoder(encoder, crops=3, least=0.5)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first = cropped.encode_image(images)
    torch.testing.assert_close(cropped.encode_image(images), first)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(2))
    cropped.draw(torch.Generator().manual_seed(1))
    second = cropped.encode_image(images)
    assert not torch.allclose(first, second, atol=1e-4)
    cropped.draw(torch.Generator().manual_seed(1))
    torch.testing.assert_close(cropped.encode_image(images), second)
    expected = encoder.encode_image(images)
    for across, down, size in cropped.windows.tolist():
        side = round((0.5 + 0.5 * size) * 32)
        left, top = round(across * (32 - side)), round(down * (32 - side))
        expected = expected + encoder.encode_image(images[..., top : top + side, left : left + side])
    torch.testing.assert_close(second, torch.nn.functional.normalize(expected, dim=-1))
    torch.testing.assert_close(cropped.encode_text(["a man"]), encoder.encode_text(["a man"]))
    fresh = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(CroppedEncoder(encoder).windows, fresh), "the same in every process"
    whole = CroppedEncoder(encoder, crops=1, least=1.0)
    torch.testing.assert_close(whole.encode_image(images), encoder.encode_image(images))
    for crops, least in ((0, 0.8), (1, 0.0), (1, 1.5)):
        with pytest.raises(ValueError, match="crops must be at least 1"):
            CroppedEncoder(encoder, crops, least)
