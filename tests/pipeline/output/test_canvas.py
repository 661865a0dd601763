"""Changes that are put onto the frames of a video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keyface.editing.composition import Layer
from keyface.pipeline.output.canvas import Strip, feather, paint, paint_frames
from keyface.pipeline.planning.face_clips import FaceClip
from keyface.video import VideoReader, write_clip

SIZE = 32


def clip_at(x: float, y: float, first: int, frames: int, presence: Tensor | None = None) -> FaceClip:
    squares = torch.tensor([[x, y, float(SIZE), 0.0]]).repeat(frames, 1)
    return FaceClip(1, (), first, squares, torch.ones(frames) if presence is None else presence)


def layers(source: Tensor, edited: Tensor, mask: Tensor, parts: Sequence[int], mode: str) -> Iterator[Layer]:
    """What an editor gives for crops (n, 3, s, s), in parts of these lengths."""
    change = mask * (edited - source)
    first = 0
    for count in parts:
        on = slice(first, first + count)
        yield Layer(first, mask[on], change[on], source[on] + change[on])
        first += count


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def test_feather_rises_inside_the_frame_only() -> None:
    squares = torch.tensor([[25.0, 50.0, 50.0, 0.0]])  # from edge to edge, in the middle of the height
    (mask,) = feather(squares, 50, height=100, width=50)[0]
    assert torch.equal(mask[25], torch.ones(50)), "left and right edges are the frame's own"
    assert mask[:4, 25].tolist() == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert torch.equal(mask, mask.flip(0))
    (turned,) = feather(torch.tensor([[25.0, 50.0, 50.0, 0.3]]), 50, 100, 50)[0]
    assert float(turned[25, 0]) < 1, "its left side is partly inside"


@pytest.mark.parametrize("mode", ["detail", "mask", "off"])
def test_only_what_is_masked_changes_and_nothing_else_by_a_bit(mode: str, tmp_path: Path) -> None:
    """s + M · d, or (1 - M) s + M e, on the clip's own frames; others pass through."""
    write_clip(tmp_path / "a.mp4", random(9, 3, 48, 64), fps=10)
    reader = VideoReader(tmp_path / "a.mp4")
    frames = torch.cat(list(reader.chunks(4)))
    source = frames[2:7, :, 8:40, 16:48]
    mask = torch.zeros(5, 1, SIZE, SIZE)
    mask[:, :, 10:20, 12:22] = 0.5
    if mode == "off":
        mask[:] = 1.0
    edited = random(5, 3, SIZE, SIZE, seed=1)
    for parts, chunk in (([5], 16), ([1, 3, 1], 3), ([2, 2, 1], 1)):
        strip = Strip(clip_at(32, 24, 2, 5), layers(source, edited, mask, parts, mode))
        painted = list(paint(reader, [strip], mode, chunk))
        after = torch.cat([each.after for each in painted])
        assert torch.equal(torch.cat([each.before for each in painted]), frames)
        whole = torch.cat([each.mask for each in painted])
        assert torch.equal(after[:2], frames[:2])
        assert torch.equal(after[7:], frames[7:])
        untouched = (whole == 0).expand_as(after)
        assert torch.equal(after[untouched], frames[untouched])
        inner = (slice(2, 7), slice(None), slice(18, 28), slice(28, 38))
        expected = torch.lerp(source, edited, mask)[:, :, 10:20, 12:22]
        assert torch.allclose(after[inner], expected, atol=1e-5)


def test_an_edit_that_changes_nothing_gives_the_very_same_frames() -> None:
    frames = random(4, 3, 48, 64)
    source = frames[:, :, 8:40, 16:48]
    clip = clip_at(31.3, 24.4, 0, 4)  # between pixels, so that it is interpolated
    strip = Strip(clip, layers(source, source, torch.ones(4, 1, SIZE, SIZE), [4], "detail"))
    assert torch.equal(paint_frames(frames, 0, [strip], "detail").after, frames)


def test_an_edit_fades_with_the_face() -> None:
    frames = torch.zeros(3, 3, 48, 64)
    presence = torch.tensor([0.25, 0.5, 1.0])
    change = torch.full((3, 3, SIZE, SIZE), 0.4)
    strip = Strip(
        clip_at(32, 24, 0, 3, presence), iter([Layer(0, torch.ones(3, 1, SIZE, SIZE), change, change)])
    )
    painted = paint_frames(frames, 0, [strip], "detail")
    assert painted.after[:, 0, 24, 32].tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert painted.mask[:, 0, 24, 32].tolist() == pytest.approx([0.25, 0.5, 1.0])


def test_two_people_at_once() -> None:
    frames = torch.zeros(2, 3, 48, 96)
    ones = torch.ones(2, 1, SIZE, SIZE)
    strips = [
        Strip(clip_at(x, 24, 0, 2), iter([Layer(0, ones, ones.expand(-1, 3, -1, -1) * value, ones)]))
        for x, value in ((20, 0.5), (70, -0.5))
    ]
    after = paint_frames(frames, 0, strips, "detail").after
    assert float(after[0, 0, 24, 20]) == pytest.approx(0.5)
    assert float(after[0, 0, 24, 70]) == pytest.approx(-0.5)
    assert float(after[0, 0, 24, 45]) == 0
