from pathlib import Path

import pytest
import torch
from PIL import Image

from keyface.pictures import before_after, save_png, sheet, spread, to_image


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
        before_after([("glasses", black, white * 0.5)], columns=2), tmp_path / "new" / "sheet.png"
    )
    picture = Image.open(path)
    right = picture.width - 12
    assert picture.getpixel((right, 12)) == (0, 0, 0)
    assert picture.getpixel((right, 12 + 24)) == (191, 191, 191)
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_sheet_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        sheet([])
