"""Oriented squares: where they lie, what is cut out, what is put back."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from keyface.faces.crops import (
    FFHQ,
    Placement,
    cut,
    face_squares,
    fades,
    put_back,
    smooth_squares,
    square_corners,
)
from keyface.pictures import resize_square

# Eyes 60 apart, mouth 50 below them, centred at x = 100.
UPRIGHT = torch.tensor([[[70.0, 80.0], [130.0, 80.0], [100.0, 105.0], [80.0, 130.0], [120.0, 130.0]]])


def turned(points: Tensor, radians: float, about: tuple[float, float] = (100.0, 80.0)) -> Tensor:
    """Clockwise as seen."""
    turn = torch.tensor([[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]])
    centre = torch.tensor(about)
    return (points - centre) @ turn.T + centre


def smooth_picture(height: int, width: int, count: int = 1) -> Tensor:
    """Slow waves, which interpolation renders almost exactly."""
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    waves = [np.sin(xs / 9 + channel) * np.cos(ys / 11 - channel) * 0.8 for channel in range(3)]
    return torch.from_numpy(np.stack(waves)).float().expand(count, -1, -1, -1).clone()


def test_the_recipe_of_celeba_hq() -> None:
    """By hand: half the side is max(2 · 60, 1.8 · 50) = 120, the centre a tenth of 50 below the eyes."""
    (square,) = face_squares(UPRIGHT)
    assert square.tolist() == pytest.approx([100, 85, 240, 0])
    wide_mouth = UPRIGHT * torch.tensor([0.5, 1.0]) + torch.tensor([50.0, 0.0])  # eyes 30 apart
    assert face_squares(wide_mouth)[0].tolist() == pytest.approx([100, 85, 2 * 1.8 * 50, 0])


def test_a_turned_head_turns_the_square_about_it() -> None:
    (square,) = face_squares(turned(UPRIGHT, 0.5))
    centre = turned(torch.tensor([[100.0, 85.0]]), 0.5)[0]
    assert square.tolist() == pytest.approx([*centre.tolist(), 240, 0.5], abs=1e-4)
    (lower,) = Placement(margin=0.5, down=0.1).squares(turned(UPRIGHT, 0.5))
    moved = turned(torch.tensor([[100.0, 85.0 + 24.0]]), 0.5)[0]
    assert lower.tolist() == pytest.approx([*moved.tolist(), 120, 0.5], abs=1e-4)


def test_wide_pixels_make_squares_that_are_square_on_the_screen() -> None:
    stored = UPRIGHT * torch.tensor([0.75, 1.0])
    (square,) = FFHQ.squares(stored, Fraction(4, 3))
    assert square.tolist() == pytest.approx([100, 85, 240, 0], abs=1e-4)
    (corners,) = square_corners(square[None], Fraction(4, 3))
    expected = [(-20 * 0.75, -35), (220 * 0.75, -35), (220 * 0.75, 205), (-20 * 0.75, 205)]
    assert corners.tolist() == [pytest.approx(each, abs=1e-4) for each in expected]


def test_degenerate_landmarks_are_refused() -> None:
    for wrong, message in (
        (UPRIGHT * 0 + 3, "one point"),
        (UPRIGHT * torch.tensor([1.0, 0.0]), "on a line"),
        (UPRIGHT * float("nan"), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            FFHQ.squares(wrong)


def test_whole_upright_squares_are_slices() -> None:
    images = torch.rand(2, 3, 40, 60) * 2 - 1
    squares = torch.tensor([[16.0, 20.0, 32.0, 0.0], [40.0, 16.0, 32.0, 0.0]])
    crops = cut(images, squares, 32)
    assert torch.equal(crops[0], images[0, :, 4:36, 0:32])
    assert torch.equal(crops[1], images[1, :, 0:32, 24:56])
    assert torch.equal(cut(images, squares, 16), resize_square(crops, 16))
    canvas = torch.zeros(2, 3, 40, 60)
    put_back(crops, squares, canvas)
    assert torch.equal(canvas[1, :, 0:32, 24:56], crops[1])
    assert float(canvas[1, :, 32:].abs().max()) == 0


@pytest.mark.parametrize("size", [24, 64, 200], ids=["smaller", "about the same", "larger"])
def test_a_cut_samples_the_picture_at_the_right_places(size: int) -> None:
    """Against the waves' own formula at the points that a rotation by hand gives."""
    square = torch.tensor([[70.3, 55.6, 64.0, 0.4]])
    crop = cut(smooth_picture(120, 150), square, size)[0, 0]
    steps = ((np.arange(size) + 0.5) / size - 0.5) * 64
    right, down = np.meshgrid(steps, steps)
    xs = 70.3 + math.cos(0.4) * right - math.sin(0.4) * down
    ys = 55.6 + math.sin(0.4) * right + math.cos(0.4) * down
    expected = np.sin(xs / 9) * np.cos(ys / 11) * 0.8
    np.testing.assert_allclose(crop.numpy(), expected, rtol=0, atol=0.02)


def test_small_pixels_are_averaged_not_skipped() -> None:
    """Stripes of one pixel become grey."""
    stripes = torch.ones(1, 3, 128, 128)
    stripes[..., ::2] = -1
    crop = cut(stripes, torch.tensor([[64.0, 64.0, 96.0, 0.01]]), 16)
    assert float(crop.abs().max()) < 0.12


def test_beyond_the_frame_it_is_mirrored_or_black() -> None:
    picture = smooth_picture(64, 64)
    square = torch.tensor([[6.5, 30.0, 40.0, 0.0]])  # reaches 13.5 pixels beyond the left edge
    mirrored = cut(picture, square, 40)[0, 0]
    assert torch.allclose(mirrored[:, 3], mirrored[:, 23], atol=0.03), "columns at -10 and 10"
    assert float(cut(picture, square, 40, border="black")[0, :, :, :10].max()) == -1
    far = cut(picture, torch.tensor([[-10.0, 30.0, 60.0, 0.2]]), 32)
    assert far.isfinite().all()


def test_only_the_needed_part_decides() -> None:
    """A frame far larger gives the same crop as its part."""
    picture = smooth_picture(200, 300)
    squares = torch.tensor([[150.2, 100.7, 50.0, -0.3]])
    whole = cut(picture, squares, 48)
    part = cut(picture[:, :, 50:150, 100:200], squares - torch.tensor([100.0, 50.0, 0, 0]), 48)
    assert torch.allclose(whole, part, atol=1e-4)


@pytest.mark.parametrize(("side", "roll"), [(64.0, 0.0), (150.0, 0.5), (40.0, -2.0)])
def test_what_is_put_back_lies_where_it_was_cut(side: float, roll: float) -> None:
    square = torch.tensor([[110.3, 105.1, side, roll]])
    frame = smooth_picture(220, 230)
    steps = (torch.arange(64) + 0.5) / 32 - 1
    window = (1 - steps.abs()).clamp(0, 1)  # falls to almost zero at the border
    window = window[:, None] * window[None]
    canvas = torch.zeros(1, 3, 220, 230)
    put_back(cut(frame, square, 64) * window, square, canvas)
    # The window in the frame, from its own formula.
    ys, xs = torch.meshgrid(torch.arange(220) + 0.5, torch.arange(230) + 0.5, indexing="ij")
    right = ((xs - 110.3) * math.cos(roll) + (ys - 105.1) * math.sin(roll)) / (side / 2)
    down = ((ys - 105.1) * math.cos(roll) - (xs - 110.3) * math.sin(roll)) / (side / 2)
    shown = (1 - right.abs()).clamp(0, 1) * (1 - down.abs()).clamp(0, 1)
    error = (canvas - frame * shown).square().mean()
    assert 10 * math.log10(4 / float(error)) > 40
    outside = (right.abs() > 1.05) | (down.abs() > 1.05)
    assert float(canvas[0, :, outside].abs().max()) == 0


def test_tiny_squares_and_squares_beyond_the_frame_are_no_fault() -> None:
    canvas = torch.zeros(2, 1, 30, 30)
    put_back(
        torch.ones(2, 1, 32, 32), torch.tensor([[10.0, 10.0, 3.0, 0.3], [90.0, 10.0, 20.0, 0.0]]), canvas
    )
    assert float(canvas[0].sum()) == pytest.approx(9, rel=0.1)
    assert float(canvas[1].abs().max()) == 0


def test_smoothing_keeps_straight_motion_and_the_ends() -> None:
    seconds = torch.tensor([0.0, 0.03, 0.1, 0.11, 0.2, 0.26, 0.3, 0.5])  # a variable frame rate
    squares = torch.stack([100 + 50 * seconds, 80 - 30 * seconds, 60 + seconds, 0.1 * seconds], dim=1)
    assert torch.allclose(smooth_squares(squares, seconds), squares, atol=0.01)
    alone = torch.tensor([[10.0, 20.0, 30.0, 0.5]])
    assert torch.allclose(smooth_squares(alone, torch.zeros(1)), alone, atol=0.01)


def test_jitter_goes_and_nodding_stays() -> None:
    """A nod at 2 Hz by 5 % of the side stays within 3 % of the truth; steps shrink to a quarter."""
    seconds = torch.arange(100) / 25
    truth = torch.zeros(100, 4)
    truth[:, 0], truth[:, 2] = 100 + 5 * torch.sin(2 * math.pi * 2 * seconds), 100
    noisy = truth + torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 1.0, 1.0, 0.01]
    )
    smooth = smooth_squares(noisy, seconds)
    assert float((smooth - truth)[:, :2].abs().max()) < 3

    def jitter(squares: Tensor) -> Tensor:
        return (squares - truth).diff(n=2, dim=0)[:, 1:].std(0)

    assert (jitter(smooth) < 0.25 * jitter(noisy)).all()
    reversed_in_time = smooth_squares(noisy.flip(0), seconds).flip(0)
    assert torch.allclose(reversed_in_time, smooth, atol=0.02), "no delay in either direction"


def test_a_roll_that_passes_half_a_turn_is_no_jump() -> None:
    seconds = torch.arange(20) / 25
    roll = torch.linspace(3.0, 3.4, 20)
    squares = torch.stack([seconds * 0 + 50, seconds * 0 + 50, seconds * 0 + 40, roll], dim=1)
    wrapped = squares.clone()
    wrapped[:, 3] = torch.remainder(roll + math.pi, 2 * math.pi) - math.pi
    assert torch.allclose(smooth_squares(wrapped, seconds)[:, 3].sin(), roll.sin(), atol=1e-3)


def test_fades_at_the_ends_that_are_asked_for() -> None:
    seconds = torch.arange(20) / 25
    assert fades(seconds, begins=False, ends=False).tolist() == [1.0] * 20
    shown = fades(seconds, begins=True, ends=False)
    # Three frames and one step: .16 s; a cosine at 1/4, 2/4, 3/4.
    assert shown[:4].tolist() == pytest.approx([0.1464, 0.5, 0.8536, 1.0], abs=1e-3)
    assert fades(seconds, begins=False, ends=True).tolist() == pytest.approx(shown.flip(0).tolist())
    assert fades(seconds[:1], begins=True, ends=True).tolist() == [1.0]
