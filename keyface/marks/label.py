"""A small visible sign on every frame: white letters on a dark ground, at the lower left border."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_HEIGHT = 0.035
"""Of the letters, of the frame's shorter side."""

_LEAST_PIXELS = 9
_MARGIN = 0.6
"""Around the letters, and between sign and border, of the letters' height."""

_DARKNESS = 0.6
"""How much of the frame the dark ground hides."""

_MOST_LETTERS = 80


class Label:
    """A sign that is drawn once and burned into any number of frames.

    Args:
        text: What it says: one line of letters that the font DejaVu Sans has.
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
        pixel_aspect: How wide a pixel is shown, of its height.

    Raises:
        ValueError: The text cannot be drawn, or does not fit the frames.
    """

    def __init__(self, text: str, height: int, width: int, pixel_aspect: Fraction = Fraction(1)) -> None:
        self.text = check_text(text)
        self.height, self.width, self.pixel_aspect = height, width, pixel_aspect
        shown_width = int(width * pixel_aspect)
        largest = max(round(min(height, shown_width) * _HEIGHT), _LEAST_PIXELS)
        for size in range(largest, _LEAST_PIXELS - 1, -1):
            sign, margin = _draw(self.text, size)
            if sign.width + 2 * margin <= shown_width and sign.height + 2 * margin <= height:
                break
        else:
            raise ValueError(
                f"--label {text!r}: needs {sign.width + 2 * margin} x {sign.height + 2 * margin} pixels, the "
                f"video has {shown_width} x {height}; give a shorter one"
            )
        self._sign, self._margin = sign, margin

    @cached_property
    def _letters(self) -> Tensor:
        """Return how white each pixel of the sign is, (h, w) in [0, 1]."""
        width = max(round(self._sign.width / self.pixel_aspect), 1)
        sign = self._sign.resize((width, self._sign.height), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(sign, dtype=np.float32) / 255)

    @property
    def place(self) -> tuple[slice, slice]:
        """Return the rows and columns of a frame that it covers."""
        height, width = self._letters.shape
        bottom, left = self.height - self._margin, round(self._margin / self.pixel_aspect)
        return slice(bottom - height, bottom), slice(left, left + width)

    def burn(self, frames: Tensor) -> Tensor:
        """Return frames with the sign; the rest of them is untouched.

        Args:
            frames: (n, 3, H, W) in [-1, 1].
        """
        rows, columns = self.place
        marked = frames.clone()
        ground = frames[..., rows, columns] * (1 - _DARKNESS) - _DARKNESS
        letters = self._letters.to(frames)
        marked[..., rows, columns] = ground * (1 - letters) + letters
        return marked


def check_text(text: str) -> str:
    """Return a label's text without space around it.

    Raises:
        ValueError: It is empty or too long, or the font lacks one of its letters.
    """
    text = text.strip()
    if not text:
        raise ValueError("--label is empty; say what it shall show, or none")
    if len(text) > _MOST_LETTERS:
        raise ValueError(f"--label has {len(text)} letters; at most {_MOST_LETTERS} are shown")
    known = FT2Font(_font_file()).get_charmap()
    strange = sorted({letter for letter in text if ord(letter) not in known or not letter.isprintable()})
    if strange:
        raise ValueError(
            f"--label {text!r}: {', '.join(map(ascii, strange))} cannot be drawn by the font DejaVu Sans; "
            "use other letters"
        )
    return text


def _font_file() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _draw(text: str, size: int) -> tuple[Image.Image, int]:
    """Return the sign in shades of gray, with its own margin of ground, and the margin in pixels."""
    font = ImageFont.truetype(_font_file(), size)
    margin = max(round(size * _MARGIN), 2)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (round(right - left) + 2 * margin, round(bottom - top) + margin))
    ImageDraw.Draw(picture).text((margin - left, margin // 2 - top), text, fill=255, font=font)
    return picture, margin
