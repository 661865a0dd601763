"""Oriented squares on pictures whose values are known everywhere."""

import math

import pytest
import torch
from torch import Tensor

from keyface.faces.human.squares import Pyramid, around, cut_each, from_squares, halve


def ramps(height: int, width: int) -> Tensor:
    """A picture (3, H, W) that is linear: x / 1000, y / 1000 and their sum, of the middle of each pixel."""
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([xs, ys, xs + ys]) / 1000


@pytest.mark.parametrize("side", [20.0, 37.5, 90.0, 150.0])
@pytest.mark.parametrize("roll", [0.0, 0.4, -1.2])
def test_a_cut_shows_what_is_there(side: float, roll: float) -> None:
    square = torch.tensor([[131.0, 117.0, side, roll]])
    cut = Pyramid(ramps(240, 260)).cut(square, 16)[0]
    for row, column in ((0, 0), (3, 12), (15, 15)):
        across, down = ((column + 0.5) / 16 - 0.5) * side, ((row + 0.5) / 16 - 0.5) * side
        x = 131 + math.cos(roll) * across - math.sin(roll) * down
        y = 117 + math.sin(roll) * across + math.cos(roll) * down
        expected = torch.tensor([x, y, x + y]) / 1000
        torch.testing.assert_close(cut[:, row, column], expected, atol=2e-4, rtol=0)


def test_outside_the_picture_it_is_black() -> None:
    cut = Pyramid(torch.ones(3, 40, 40)).cut(
        torch.tensor([[0.0, 20.0, 20.0, 0.0], [90.0, 90.0, 20.0, 0.3]]), 8
    )
    assert (cut[0, :, :, :4] == -1).all()
    assert (cut[0, :, :, 4:] == 1).all()
    assert (cut[1] == -1).all()


def test_large_squares_do_not_alias() -> None:
    """A fine checkerboard is grey from far away."""
    board = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 2.0 - 1
    cut = Pyramid(board.expand(3, -1, -1)).cut(torch.tensor([[128.0, 128.0, 200.0, 0.2]]), 32)
    assert cut.abs().max() < 1e-6


def test_halving_averages_pairs() -> None:
    image = torch.tensor([[1.0, 3.0, 5.0], [5.0, 7.0, 1.0], [2.0, 4.0, 6.0]]).expand(1, 3, 3, 3)
    assert halve(image)[0, 0].tolist() == [[4.0, 3.0], [3.0, 6.0]]


def test_gradients_reach_only_what_is_cut() -> None:
    images = torch.zeros(2, 3, 30, 30, requires_grad=True)
    cut_each(images, torch.tensor([[10.0, 10.0, 8.0, 0.0], [20.0, 20.0, 8.0, 0.5]]), 8).sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().sum(dim=1) > 0
    assert seen[0, 6:14, 6:14].all()
    assert seen.sum(dim=(1, 2))[0] == 64
    assert not seen[1, :10].any()


def test_the_square_around_points_is_upright_for_the_face() -> None:
    """A turned rectangle of 40 by 20 about (100, 50), whose long side is level in the face."""
    square = torch.tensor([[100.0, 50.0, 40.0, 0.6]])
    corners = from_squares(torch.tensor([[[0.0, 0.25], [1.0, 0.25], [0.0, 0.75], [1.0, 0.75]]]), square)
    found = around(corners, corners[:, 0], corners[:, 1], margin=1.5)
    torch.testing.assert_close(found, torch.tensor([[100.0, 50.0, 60.0, 0.6]]))
