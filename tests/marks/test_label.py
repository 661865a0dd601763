"""The visible sign on frames."""

from fractions import Fraction

import pytest
import torch

from keyface.marks.label import Label


def test_the_sign_lies_at_the_lower_left_border_and_the_rest_is_untouched() -> None:
    frames = torch.rand(3, 3, 360, 640) * 2 - 1
    label = Label(" Edited by AI ", 360, 640)
    assert label.text == "Edited by AI"
    given = frames.clone()
    marked = label.burn(frames)
    assert torch.equal(frames, given), "the given frames are left alone"
    rows, columns = label.place
    changed = (marked != frames).any(dim=1).any(dim=0)
    assert changed[rows, columns].float().mean() > 0.95
    changed[rows, columns] = False
    assert not changed.any()
    assert 360 - 20 < rows.stop < 360
    assert 0 < columns.start < 20
    assert rows.stop - rows.start < 360 * 0.08, "small"


def test_letters_are_white_on_darkened_ground_in_every_frame() -> None:
    frames = torch.stack([torch.full((3, 200, 300), value) for value in (-1.0, 0.0, 1.0)])
    label = Label("AI", 200, 300)
    rows, columns = label.place
    sign = label.burn(frames)[..., rows, columns]
    assert sign.amax(dim=(1, 2, 3)).min() > 0.95, "white letters whatever lies below"
    corner = sign[:, :, 0, 0]
    assert torch.allclose(corner, torch.tensor([[-1.0], [-0.6], [-0.2]]).expand(3, 3), atol=1e-6)
    assert sign.amax() <= 1
    assert sign.amin() >= -1


def test_letters_have_the_same_shape_where_pixels_are_not_square() -> None:
    square, wide = Label("AI", 480, 720), Label("AI", 480, 360, Fraction(2))
    assert wide.place[0] == square.place[0]
    assert wide.place[1].stop - wide.place[1].start == pytest.approx(
        (square.place[1].stop - square.place[1].start) / 2, abs=1
    )


def test_a_long_text_is_drawn_smaller_and_one_that_does_not_fit_is_refused() -> None:
    long = Label("This video was edited by a generative model, see keyface", 720, 560)
    assert long.place[1].stop <= 560
    assert Label("This", 720, 560).place[0].start < long.place[0].start
    with pytest.raises(ValueError, match=r"needs \d+ x \d+ pixels, the video has 60 x 44"):
        Label("This video was edited", 44, 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  ", "--label is empty"),
        ("a" * 81, "81 letters"),
        ("\u5408\u6210", r"'\\u5408', '\\u6210' cannot be drawn"),
        ("two\nlines", "cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Label(text, 360, 640)


def test_letters_of_other_alphabets_are_drawn() -> None:
    for text in ("KI-bearbeitet", "\u0441\u043e\u0437\u0434\u0430\u043d\u043e \u0418\u0418", "\u03a4\u039d"):
        assert Label(text, 360, 640).text == text
