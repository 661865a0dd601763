"""The watermark: what it adds, where, and whether it is found in what becomes of a video."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from keyface.marks.watermark import Watermark, phases, sign_at, unit_for, waves
from keyface.marks.watermark_search import THRESHOLD, Search, find_watermark
from keyface.video import VideoReader

SIDE, FRAMES = 256, 50


def picture(seed: int = 0) -> Tensor:
    """Return a smooth random picture (1, 3, S, S) with an edge."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 12, 12, generator=random) * 0.35
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    smooth[..., 100:104, :] = 0.8
    return smooth.clamp(-1, 1)


def moving(seed: int = 0) -> Tensor:
    """Return a clip (T, 3, S, S) of a picture that slides slowly."""
    return torch.cat([picture(seed).roll(index // 3, dims=-1) for index in range(FRAMES)])


def middle() -> Tensor:
    """Return a mask (T, 1, S, S) that is 1 in a square of 160 pixels with soft borders."""
    places = torch.arange(SIDE)
    ramp = ((80 - (places - SIDE / 2).abs()) / 12).clamp(0, 1)
    return (ramp[:, None] * ramp).expand(FRAMES, 1, SIDE, SIDE)


def times(frames: int = FRAMES, rate: int = 25) -> list[Fraction]:
    return [Fraction(index, rate) for index in range(frames)]


def encoded(path: Path, frames: Tensor, rate: Fraction, crf: int, size: int) -> Path:
    """Write frames by x264 as other programs do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for each in frames.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy():
            frame = av.VideoFrame.from_ndarray(each, format="rgb24")
            container.mux(stream.encode(frame.reformat(size, size, "yuv420p")))
        container.mux(stream.encode())
    return path


def test_what_is_added_is_40_db_below_white_inside_the_mask_and_nothing_outside() -> None:
    frames, mask = moving(), middle()
    marked = Watermark(SIDE, SIDE, 2.0).write(frames, mask, times())
    outside = (mask <= 0.02).expand_as(frames)
    assert torch.equal(marked[outside], frames[outside])
    before, after = (each.add(1).mul(127.5).round() for each in (frames, marked))
    inside = (mask > 0.02).expand_as(frames)
    error = (after - before)[inside].square().mean()
    psnr = 10 * np.log10(255**2 / float(error))
    assert 40.0 <= psnr < 41.0
    assert marked.abs().max() <= 1
    free = (frames.abs() < 0.9).all(dim=1)
    luminance = ((marked - frames) * torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)).sum(dim=1)
    assert luminance[free].abs().max() < 1e-4, "flicker in luminance would be seen"
    again = Watermark(SIDE, SIDE, 2.0).write(frames[7:9], mask[7:9], times()[7:9])
    assert torch.equal(again, marked[7:9]), "a frame does not depend on those that come with it"


def test_the_pattern_is_the_same_for_ever() -> None:
    down, across = waves()
    lengths = 64 / np.hypot(down, across)
    assert lengths.min() >= 5
    assert lengths.max() <= 16
    assert {(-a, -b) for a, b in zip(down, across, strict=True)}.isdisjoint(zip(down, across, strict=True))
    assert phases()[:3].tolist() == pytest.approx([0.63005866, 3.67565700, 0.42851561])
    values = Watermark(128, 128, 1.0).pattern
    assert float(values.square().mean()) == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(values[:64, :64], values[64:, 64:], atol=1e-4), "it repeats after a tile"
    place = np.array([3.5, 10.5])  # row and column of a pixel's middle
    angles = 2 * np.pi / 64 * (down * place[0] + across * place[1]) + phases()
    assert float(values[3, 10]) == pytest.approx(np.cos(angles).sum() * np.sqrt(2 / len(down)), abs=1e-3)
    assert [sign_at(Fraction(each, 24)) for each in (0, 3, 4, 7, 8, 12)] == [1, 1, -1, -1, 1, -1]
    assert unit_for(512, 512, 512) == pytest.approx(512 / 110)
    assert unit_for(200, 1080, 1920) == 3.0


@pytest.mark.parametrize(
    ("enlarged", "crf", "scale", "cut", "step"),
    [(1, 28, 1, 0, 1), (1, 20, 2, 0, 1), (1, 20, 1, 22, 1), (1, 20, 1, 0, 2), (2, 28, 2, 44, 2)],
    ids=["compressed", "half size", "cropped", "half the frames", "all four"],
)
def test_the_mark_is_found_after_what_happens_to_videos(
    tmp_path: Path, enlarged: int, crf: int, scale: int, cut: int, step: int
) -> None:
    side = SIDE * enlarged
    frames, mask = (torch.nn.functional.interpolate(each, size=side) for each in (moving(), middle()))
    marked = Watermark(side, side, 2.5 * enlarged).write(frames, mask, times())
    part = marked[::step, :, cut:, cut // 2 : side - cut // 2]
    rate, size = Fraction(25, step), (side - cut) // scale // 2 * 2
    seen = find_watermark(VideoReader(encoded(tmp_path / "a.mp4", part, rate, crf, size)))
    assert (seen.found, seen.version) == (True, 2)
    assert seen.score >= seen.threshold == THRESHOLD


def search(frames: Tensor, seconds: Sequence[Fraction]) -> float:
    looking = Search(*frames.shape[-2:])
    return max(each.value for each in [*looking.add(frames, seconds), *looking.finish()])


def test_no_mark_is_found_where_there_is_none(tmp_path: Path) -> None:
    seen = find_watermark(VideoReader(encoded(tmp_path / "a.mp4", moving(), Fraction(25), 18, SIDE)))
    assert (seen.found, seen.version) == (False, None)
    assert 3 < seen.score < THRESHOLD
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(FRAMES, 3, 96, 96, generator=random) * 2 - 1
    assert search(noise, times()) < THRESHOLD
    flicker = noise[:12].repeat_interleave(4, dim=0)
    assert search(flicker, times(48)) < THRESHOLD, "what changes in the mark's own rhythm"
    still = torch.rand(1, 3, 96, 96, generator=random).expand(FRAMES, -1, -1, -1)
    assert search(still, times()) < THRESHOLD
    assert search(noise[:1], times(1)) == 0.0


def test_the_mark_is_found_wherever_in_time_a_cut_begins_and_in_the_second_part_of_a_video() -> None:
    frames, mask = moving()[:40], middle()[:40]
    late = [Fraction(index, 25) + 9 for index in range(40)]  # the first part, of 6.7 s, has no mark
    marked = Watermark(SIDE, SIDE, 2.5).write(frames, mask, late)
    assert search(torch.cat([frames, marked]), [*times(40), *late]) >= THRESHOLD
    for shift in (Fraction(1, 25), Fraction(3, 25)):
        assert search(marked, [each + shift for each in late]) >= THRESHOLD
