from fractions import Fraction

import pytest
import torch

from keyface.pictures import from_uint8
from keyface.video import VideoReader
from keyface.video.lossless import write_lossless


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 32, 48), (1, 33, 17)])
def test_every_pixel_comes_back(tmp_path, frames, height, width):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)
    write_lossless(tmp_path / "clip.mp4", from_uint8(noise), Fraction(12), {"comment": "noise"})
    reader = VideoReader(tmp_path / "clip.mp4")
    assert torch.equal(reader.whole(), from_uint8(noise))
    assert reader.fps == 12
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_nothing_is_left_of_a_file_that_failed(tmp_path):
    with pytest.raises(ValueError, match="array shape"):
        write_lossless(tmp_path / "clip.mp4", torch.zeros(2, 4, 8, 8), 12)
    assert not list(tmp_path.iterdir())
