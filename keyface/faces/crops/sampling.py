"""Pixels of an oriented square: cut out of frames, and put back onto them."""

import math
from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.pictures import resize_square

Border = Literal["mirror", "black"]

_MOST_SAMPLES = 8
_REACH = 3
"""Pixels beside a sample that its interpolation looks at, and one more."""

_BAND = 2**19
"""Samples of a picture taken at a time: a square of a 4K frame has 4 million, and each needs six numbers."""


def square_corners(squares: Tensor, pixel_aspect: Fraction | float = 1) -> Tensor:
    """Return corners (n, 4, 2), stored pixels, of squares (n, 4), clockwise from the upper left."""
    unit = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], device=squares.device)
    return _to_frame(unit[None], squares, pixel_aspect)


def cut(
    images: Tensor,
    squares: Tensor,
    size: int,
    border: Border = "mirror",
    pixel_aspect: Fraction | float = 1,
) -> Tensor:
    """Cut oriented squares out of frames, each pixel sampled once from the frame, with anti-aliasing.

    Upright squares at whole pixels are sliced, and resized where their side is not `size`. All others are
    interpolated by cubics where pixels become larger, and averaged over as many samples as it takes where
    they become smaller.

    Args:
        images: (n, 3, H, W) in [-1, 1].
        squares: (n, 4).
        size: Side of the crops in pixels.
        border: What lies beyond the frame.
        pixel_aspect: Width of a stored pixel in its heights.

    Returns:
        (n, 3, size, size) in [-1, 1].
    """
    plain = _slices(squares, images.shape[-2:], pixel_aspect)
    if plain is not None:
        return torch.cat(
            [
                resize_square(image[None, :, rows, columns], size)
                for image, (rows, columns) in zip(images, plain, strict=True)
            ]
        )
    left, top, right, bottom = _needed(squares, images.shape[-2:], pixel_aspect)
    part = images[:, :, top:bottom, left:right].to(torch.float32, copy=True)
    samples = _samples(float(squares[:, 2].max()) * max(1.0, 1 / float(pixel_aspect)) / size)
    count = size * samples
    steps = (torch.arange(count, dtype=torch.float32, device=images.device) + 0.5) / count - 0.5
    corner = torch.tensor([left, top], dtype=torch.float32, device=images.device)
    extent = torch.tensor([right - left, bottom - top], dtype=torch.float32, device=images.device)
    part += 1  # so that zeros are black
    bands = []
    for rows in torch.split(steps, _rows(count, samples)):
        unit = torch.stack(torch.meshgrid(steps, rows, indexing="xy"), dim=-1).view(1, -1, 2)
        places = _to_frame(unit, squares, pixel_aspect) - corner
        sampled = F.grid_sample(
            part,
            (2 * places / extent - 1).view(len(images), len(rows), count, 2),
            mode="bicubic" if samples == 1 else "bilinear",
            padding_mode="reflection" if border == "mirror" else "zeros",
            align_corners=False,
        )
        bands.append(F.avg_pool2d(sampled, samples))
    return (torch.cat(bands, dim=-2) - 1).clamp(-1, 1)


def put_back(layers: Tensor, squares: Tensor, canvas: Tensor, pixel_aspect: Fraction | float = 1) -> None:
    """Add layers to frames, in place; nothing outside the squares changes.

    The inverse of `cut`: a layer is interpolated by cubics where the frame has more pixels than it, and
    averaged where it has fewer.

    Args:
        layers: (n, C, s, s).
        squares: (n, 4).
        canvas: (n, C, H, W).
        pixel_aspect: Width of a stored pixel in its heights.
    """
    size = layers.shape[-1]
    plain = _slices(squares, canvas.shape[-2:], pixel_aspect)
    if plain is not None and all(rows.stop - rows.start == size for rows, _ in plain):
        for frame, layer, (rows, columns) in zip(canvas, layers, plain, strict=True):
            frame[:, rows, columns] += layer
        return
    for frame, layer, square in zip(canvas, layers, squares, strict=True):
        _put_one(layer, square[None], frame, pixel_aspect)


def _put_one(layer: Tensor, square: Tensor, frame: Tensor, pixel_aspect: Fraction | float) -> None:
    size, (height, width) = layer.shape[-1], frame.shape[-2:]
    corners = square_corners(square, pixel_aspect)[0]
    low, high = corners.amin(0).floor(), corners.amax(0).ceil()
    left, top = (max(int(value), 0) for value in low)
    right, bottom = min(int(high[0]), width), min(int(high[1]), height)
    if left >= right or top >= bottom:
        return
    samples = _samples(size / float(square[0, 2]) * max(1.0, float(pixel_aspect)))
    xs, ys = (
        (torch.arange((stop - start) * samples, dtype=torch.float32, device=frame.device) + 0.5) / samples
        + start
        for start, stop in ((left, right), (top, bottom))
    )
    layer, done = layer[None].float(), top
    for rows in torch.split(ys, _rows(len(xs), samples)):
        points = torch.stack(torch.meshgrid(xs, rows, indexing="xy"), dim=-1)
        unit = _to_square(points, square[0], pixel_aspect)
        inside = (unit.abs() <= 0.5).all(dim=-1)
        sampled = F.grid_sample(
            layer,
            2 * unit[None],
            mode="bicubic" if samples == 1 else "bilinear",
            padding_mode="border",
            align_corners=False,
        )[0]
        band = F.avg_pool2d(sampled * inside, samples)
        frame[:, done : done + band.shape[1], left:right] += band
        done += band.shape[1]


def _rows(width: int, samples: int) -> int:
    """Return how many rows of samples are taken at a time: whole pixels, one at least."""
    return max(_BAND // (width * samples), 1) * samples


def _to_frame(unit: Tensor, squares: Tensor, pixel_aspect: Fraction | float) -> Tensor:
    """Map points of the unit square around 0, (1, p, 2), to stored pixels of each frame, (n, p, 2)."""
    x, y, side, roll = (column[:, None] for column in squares.float().unbind(1))
    cosine, sine = roll.cos() * side, roll.sin() * side
    return torch.stack(
        [
            (x + cosine * unit[..., 0] - sine * unit[..., 1]) / float(pixel_aspect),
            y + sine * unit[..., 0] + cosine * unit[..., 1],
        ],
        dim=-1,
    )


def _to_square(points: Tensor, square: Tensor, pixel_aspect: Fraction | float) -> Tensor:
    """Map stored pixels (…, 2) to the unit square around 0 of one square (4,)."""
    x, y, side, roll = square.float()
    right, down = points[..., 0] * float(pixel_aspect) - x, points[..., 1] - y
    cosine, sine = roll.cos() / side, roll.sin() / side
    return torch.stack([cosine * right + sine * down, cosine * down - sine * right], dim=-1)


def _samples(pixels: float) -> int:
    """Return how many samples an axis one pixel takes that covers so many."""
    return min(max(math.ceil(pixels - 1e-3), 1), _MOST_SAMPLES)


def _slices(
    squares: Tensor, frame: torch.Size | tuple[int, int], pixel_aspect: Fraction | float
) -> list[tuple[slice, slice]] | None:
    """Return rows and columns of squares that are upright, at whole pixels and inside; None if not all."""
    if float(pixel_aspect) != 1 or bool((squares[:, 3] != 0).any()):
        return None
    lefts, tops, sides = squares[:, 0] - squares[:, 2] / 2, squares[:, 1] - squares[:, 2] / 2, squares[:, 2]
    edges = torch.stack([lefts, tops, lefts + sides, tops + sides], dim=1)
    if bool((edges != edges.round()).any()) or bool((edges < 0).any()):
        return None
    if bool((edges[:, 2] > frame[1]).any()) or bool((edges[:, 3] > frame[0]).any()):
        return None
    return [(slice(t, b), slice(a, c)) for a, t, c, b in edges.int().tolist()]


def _needed(
    squares: Tensor, frame: torch.Size | tuple[int, int], pixel_aspect: Fraction | float
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what the squares look at in the frame, mirrored parts included."""
    corners = square_corners(squares, pixel_aspect).flatten(0, 1)
    reach = [float(value) for value in (*(corners.amin(0) - _REACH), *(corners.amax(0) + _REACH))]
    ranges = []
    for low, high, length in ((reach[0], reach[2], frame[1]), (reach[1], reach[3], frame[0])):
        beyond = max(high - length, 0.0)
        start = min(low, length - beyond)
        stop = max(high, -low)
        first = min(max(math.floor(start), 0), length - 1)
        ranges.append((first, max(min(math.ceil(stop), length), first + 1)))
    (left, right), (top, bottom) = ranges
    return left, top, right, bottom
