"""Where shots begin."""

import torch
from torch import Tensor

from keyface.video.cuts import CutDetector


def shot(hue: int, frames: int, move: int = 2) -> Tensor:
    """Clouds of one colour that drift."""
    random = torch.Generator().manual_seed(hue)
    clouds = torch.nn.functional.interpolate(
        torch.rand(1, 3, 8, 12, generator=random), (90, 160), mode="bilinear"
    )
    clouds = 0.3 * clouds
    clouds[:, hue % 3] += 0.5
    return torch.cat([clouds.roll(index * move, dims=3) for index in range(frames)]).clamp(0, 1) * 2 - 1


def cuts_of(frames: Tensor, chunk: int) -> list[int]:
    detector, found = CutDetector(), []
    for part in torch.split(frames, chunk):
        found += detector.add(part)
    return found + detector.finish()


def test_cuts_are_found_in_chunks_of_any_size() -> None:
    frames = torch.cat([shot(0, 20), shot(1, 7), shot(2, 15), shot(4, 3)])
    for chunk in (1, 5, 45):
        assert cuts_of(frames, chunk) == [20, 27, 42]


def test_motion_and_flashes_are_no_cuts() -> None:
    frames = shot(0, 30, move=4)
    assert cuts_of(frames, 16) == []
    frames = shot(0, 30, move=1)
    for length in (1, 2):
        flash = frames.clone()
        flash[12 : 12 + length] = 1.0
        assert cuts_of(flash, 16) == []
    assert cuts_of(torch.cat([frames, torch.ones(1, 3, 90, 160)]), 16) == [30], "nothing comes back after it"
    assert cuts_of(frames[:1], 16) == []
