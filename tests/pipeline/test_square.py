"""The square of a video that is edited: cut out, and pasted back."""

from pathlib import Path

import pytest
import torch

from keyface.pictures import resize_square
from keyface.pipeline.square import Crop, Paster, SquareFrames
from keyface.video import VideoReader, write_clip


def test_feather_rises_inside_the_frame_only() -> None:
    crop = Crop(0, 10, 50)
    mask = crop.feather(height=100, width=50, fraction=0.1)
    assert mask.shape == (50, 50)
    assert torch.equal(mask[25], torch.ones(50)), "left and right edges are the frame's own"
    assert mask[:6, 25].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert torch.equal(mask, mask.flip(0))


def test_pasting_leaves_the_rest_bit_equal(tmp_path: Path) -> None:
    frames = torch.rand(5, 3, 40, 60, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_clip(tmp_path / "a.mp4", frames, fps=10)
    reader, crop = VideoReader(tmp_path / "a.mp4"), Crop(10, 4, 32)
    squares = torch.cat(list(SquareFrames(reader, crop, 32).chunks(2)))
    paster = Paster(reader, crop)
    for edited in squares.neg().split([3, 2]):
        originals, pasted = paster.paste(edited)
        changed = (originals != pasted).any(dim=1)
        assert not changed[:, :4].any()
        assert not changed[:, 36:].any()
        assert not changed[:, :, :10].any()
        assert not changed[:, :, 42:].any()
        assert torch.allclose(pasted[:, :, 12:28, 18:34], -originals[:, :, 12:28, 18:34], atol=1e-6)
    assert torch.equal(resize_square(squares, 32), squares)
