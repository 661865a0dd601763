from pathlib import Path

import pytest
import torch
from PIL import Image

from keyface.pictures import (
    draw_before_after,
    draw_sheet,
    from_uint8,
    largest_square,
    resize_square,
    save_png,
    spread,
    to_image,
    to_uint8,
)


def test_pixels_are_the_nearest_values_and_come_back() -> None:
    images = torch.tensor([-7.0, -1.0, -0.9951, -0.995, 0.0, 0.999, 1.0, 7.0])  # half a step is at -.99608
    pixels = to_uint8(images)
    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == [0, 0, 1, 1, 128, 255, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert to_uint8(from_uint8(every)).equal(every)
    assert to_uint8(every).equal(every)
    assert from_uint8(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([-1, -0.6, 1])


def test_the_largest_square_lies_in_the_middle() -> None:
    assert largest_square(0, 0, 1920, 1080) == (420, 0, 1080)
    assert largest_square(10, 20, 41, 100) == (10, 44, 31)


def test_resizing_a_square_keeps_its_mean_and_range() -> None:
    images = (torch.rand(2, 3, 16, 16) > 0.5).float() * 2 - 1
    small = resize_square(images, 8)
    assert small.shape == (2, 3, 8, 8)
    assert small.abs().max() <= 1
    assert resize_square(images, 16) is images


def test_to_image_maps_and_clamps() -> None:
    frame = torch.tensor([-2.0, -1.0, 0.0, 1.0]).expand(3, 1, 4)
    assert [to_image(frame).getpixel((x, 0)) for x in range(4)] == [
        (0,) * 3,
        (0,) * 3,
        (128,) * 3,
        (255,) * 3,
    ]


@pytest.mark.parametrize(
    ("count", "columns", "shown"),
    [(3, 6, [0, 1, 2]), (16, 4, [0, 5, 10, 15]), (7, 1, [3]), (5, 2, [0, 4])],
)
def test_spread(count: int, columns: int, shown: list[int]) -> None:
    assert spread(count, columns) == shown


def test_before_after_puts_the_source_above_the_edit(tmp_path: Path) -> None:
    black, white = torch.full((4, 3, 20, 20), -1.0), torch.full((4, 3, 20, 20), 1.0)
    path = save_png(
        draw_before_after([("glasses", black, white * 0.5)], columns=2), tmp_path / "new" / "sheet.png"
    )
    picture = Image.open(path)
    right = picture.width - 12
    assert picture.getpixel((right, 12)) == (0, 0, 0)
    assert picture.getpixel((right, 12 + 24)) == (191, 191, 191)
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_sheet_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        draw_sheet([])
