"""Pictures: 8-bit pixels, squares, and contact sheets of labelled rows of frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from keyface.files import replacing

_BACKGROUND = (255, 255, 255)
_INK = (40, 40, 40)


def to_uint8(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Turn images in [-1, 1] into the nearest uint8 values.

    Args:
        images: Any shape; values outside [-1, 1] are clamped. Images that are uint8 already pass.
        device: Where the values go.
    """
    if images.dtype == torch.uint8:
        return images.to(device)
    return images.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(device, torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels of any shape into float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_image(frame: Tensor) -> Image.Image:
    """Turn a frame (3, H, W) in [-1, 1] into an 8-bit picture; values outside are clamped."""
    return Image.fromarray(np.ascontiguousarray(to_uint8(frame).permute(1, 2, 0).numpy()))


def largest_square(left: int, top: int, right: int, bottom: int) -> tuple[int, int, int]:
    """Return left edge, top edge and side, in pixels, of the largest square in the middle of a rectangle."""
    side = min(right - left, bottom - top)
    return left + (right - left - side) // 2, top + (bottom - top - side) // 2, side


def resize_square(images: Tensor, size: int) -> Tensor:
    """Resize square images (n, 3, s, s) in [-1, 1] to (n, 3, size, size), bicubic and anti-aliased."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)


def spread(count: int, columns: int) -> list[int]:
    """Spread at most `columns` indices evenly over `count` frames, first and last among them."""
    if columns >= count:
        return list(range(count))
    if columns == 1:
        return [count // 2]
    return [round(index * (count - 1) / (columns - 1)) for index in range(columns)]


def draw_sheet(rows: Sequence[tuple[str, Tensor]], gap: int = 4) -> Image.Image:
    """Draw one row of frames a label.

    Args:
        rows: Label and frames (n, 3, H, W) in [-1, 1]; rows may differ in number and size of frames.
        gap: Pixels between frames.

    Returns:
        The picture, with each label on the left of its row.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row of frames")
    tallest = max(frames.shape[-2] for _, frames in rows)
    font = ImageFont.load_default(size=max(10, tallest // 9))
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [ruler.multiline_textbbox((0, 0), label, font=font) for label, _ in rows]
    margin = int(max(box[2] for box in boxes)) + 2 * gap
    width = margin + max(len(frames) * (frames.shape[-1] + gap) for _, frames in rows)
    heights = [max(frames.shape[-2], int(box[3])) + gap for (_, frames), box in zip(rows, boxes, strict=True)]
    picture = Image.new("RGB", (width, sum(heights) + gap), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    top = gap
    for (label, frames), box, height in zip(rows, boxes, heights, strict=True):
        draw.multiline_text((gap, top + (height - gap - box[3]) / 2), label, fill=_INK, font=font)
        for column, frame in enumerate(frames):
            picture.paste(to_image(frame), (margin + column * (frames.shape[-1] + gap), top))
        top += height
    return picture


def draw_before_after(clips: Sequence[tuple[str, Tensor, Tensor]], columns: int = 6) -> Image.Image:
    """Draw a sheet with two rows a clip, the source above the edit.

    Args:
        clips: Name of the edit, source frames and edited frames, both (T, 3, H, W) in [-1, 1].
        columns: How many frames of each clip to show, spread over it.
    """
    rows: list[tuple[str, Tensor]] = []
    for name, source, edited in clips:
        shown = spread(len(source), columns)
        rows += [("source", source[shown]), (name, edited[shown])]
    return draw_sheet(rows)


def save_png(picture: Image.Image, path: Path) -> Path:
    """Write a picture, whole or not at all."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
    return path
