"""Colours of video frames: what a file says of them, and the way to RGB and back without a drift."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor
from torch.utils.dlpack import from_dlpack

UNSPECIFIED = 2
"""FFmpeg's number of a matrix, transfer or primaries that a file does not tell."""

HIGH_DYNAMIC_RANGE = {16, 18}
"""FFmpeg's transfer characteristics PQ and HLG."""

FULL_RANGE = 2
"""FFmpeg's number of the range from 0 to 255, not from 16 to 235."""

_BT709, _BT2020 = 1, 9

_WEIGHTS = {
    1: (0.2126, 0.0722),
    UNSPECIFIED: (0.299, 0.114),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma by FFmpeg's numbers of matrices (ITU-T H.273, table 4)."""

# Repeating a chroma sample over its pixels and averaging them again gives the sample back. Any smoother way
# loses chroma on each pass: 7 of 255 on average with FFmpeg's bilinear one, on a texture of strong colours.
_REPEATED = (
    Interpolation.POINT
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)

SMOOTH = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
"""For changing the size of frames, before their colours are converted."""


@dataclass(frozen=True)
class Appearance:
    """What a file says of how its frames are to be shown, once they are upright.

    Attributes:
        colorspace: FFmpeg's number of the YUV matrix; 2 is unspecified.
        primaries: FFmpeg's number of the colour primaries; 2 is unspecified.
        transfer: FFmpeg's number of the transfer characteristics; 2 is unspecified.
        full_range: Whether black is 0, not 16.
        pixel_aspect: Width of a stored pixel in its heights.
        bits: Bits a sample.
        interlaced: Whether the file stores frames as two fields.
    """

    colorspace: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full_range: bool = False
    pixel_aspect: Fraction = Fraction(1)
    bits: int = 8
    interlaced: bool = False

    @classmethod
    def of(cls, frame: VideoFrame, pixel_aspect: Fraction, interlaced: bool) -> Self:
        """Return what a decoded frame says."""
        return cls(
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
            int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj"),
            pixel_aspect,
            max(component.bits for component in frame.format.components),
            interlaced,
        )

    @property
    def knows_matrix(self) -> bool:
        """Return whether the matrix, if there is one, is one that can be read."""
        return self.colorspace in _WEIGHTS or self.colorspace == 0

    def as_yuv(self, *, keeps_full_range: bool = True) -> "Appearance":
        """Return the appearance of YUV frames made from the RGB ones.

        Args:
            keeps_full_range: Whether the new file can say that its range is full.
        """
        wide = self.primaries == _BT2020
        matrix = self.colorspace if self.colorspace in _WEIGHTS else _BT2020 if wide else _BT709
        return replace(self, colorspace=matrix, full_range=self.full_range and keeps_full_range)


def to_rgb(frame: VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Return a decoded frame as (H, W, 3) uint8, RGB.

    Args:
        frame: In any pixel format, matrix and range.
        reformatter: One for all frames of a stream is faster than one for each.
    """
    known = frame.colorspace in _WEIGHTS or frame.colorspace == 0
    converted = reformatter.reformat(
        _plain(frame), format="rgb24", src_colorspace=None if known else _BT709, interpolation=_REPEATED
    )
    return converted.to_ndarray()[: frame.height, : frame.width]


_BAND_PIXELS = 4 * 2**20
"""Pixels that are converted at once: frames up to 2560 by 1440 whole."""


def from_rgb(image: Tensor, pixel_format: str, appearance: Appearance) -> VideoFrame:
    """Return a YUV frame; each chroma sample is the mean of its pixels.

    FFmpeg's own way rounds down chroma of full range, and luma of 16-bit RGB, by half a level each pass.

    Args:
        image: (3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.
        pixel_format: yuv420p, yuv422p, yuv444p or those with 10 bits ("yuv420p10le").
        appearance: Its matrix and range are used; its tags are set on the frame.
    """
    bits = 10 if "10" in pixel_format else 8
    matrix, offsets = _from_rgb(appearance, bits)
    if image.dtype == torch.uint8:
        matrix = matrix / 255
    else:
        matrix = matrix / 2
        offsets = offsets + matrix.sum(1)
    matrix, offsets = matrix.float(), offsets.float()
    height, width = image.shape[1:]
    down, across = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}[pixel_format[:7]]
    frame = VideoFrame(width, height, pixel_format)
    written = [from_dlpack(plane) for plane in frame.planes]
    # A band of even height at a time: of 8K frames all pixels as floats, several times over, fill gigabytes.
    step = max(_BAND_PIXELS // width, 2) // 2 * 2
    for top in range(0, height, step):
        pixels = image[:, top : top + step].detach().float().cpu()
        if image.dtype != torch.uint8:
            pixels = pixels.clamp(-1, 1)
        rows = pixels.shape[1]
        luma = torch.addmv(offsets[0].expand(rows * width), pixels.reshape(3, -1).T, matrix[0])
        means = _means(pixels, down, across)
        chroma = torch.addmm(offsets[1:, None], matrix[1:], means.reshape(3, -1))
        parts = (luma.view(rows, width), *chroma.view(2, *means.shape[1:]))
        for plane, values, first in zip(written, parts, (top, top // down, top // down), strict=True):
            plane[first : first + len(values)].copy_(values.round_().clamp_(0, 2**bits - 1))
    frame.colorspace, frame.color_range = appearance.colorspace, FULL_RANGE if appearance.full_range else 1
    frame.color_primaries, frame.color_trc = appearance.primaries, appearance.transfer
    return frame


def _from_rgb(appearance: Appearance, bits: int) -> tuple[Tensor, Tensor]:
    """Return the matrix (3, 3) from RGB in [0, 1] to Y, Cb and Cr in levels, and what is added (3,)."""
    of_red, of_blue = _WEIGHTS[appearance.colorspace]
    luma = torch.tensor([of_red, 1 - of_red - of_blue, of_blue], dtype=torch.float64)
    red, _, blue = torch.eye(3, dtype=torch.float64)
    rows = torch.stack([luma, (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)])
    unit = 2 ** (bits - 8)
    if appearance.full_range:
        return rows * (2**bits - 1), torch.tensor([0, 128, 128], dtype=torch.float64) * unit
    spans = torch.tensor([219, 224, 224], dtype=torch.float64)
    return rows * spans[:, None] * unit, torch.tensor([16, 128, 128], dtype=torch.float64) * unit


def _means(pixels: Tensor, down: int, across: int) -> Tensor:
    """Return the mean colours (3, h, w) of blocks, 1 or 2 high and wide; at odd ends of what there is."""
    if down == 2:
        pixels = F.pad(pixels, (0, 0, 0, pixels.shape[1] % 2), mode="replicate")
        pixels = (pixels[:, ::2] + pixels[:, 1::2]).div_(2)
    if across == 2:
        pixels = F.pad(pixels, (0, pixels.shape[2] % 2), mode="replicate")
        pixels = (pixels[:, :, ::2] + pixels[:, :, 1::2]).div_(2)
    return pixels


def _plain(frame: VideoFrame) -> VideoFrame:
    """Return a frame whose planes of chroma fit its pixels, and that does not say where chroma samples lie.

    FFmpeg shifts chroma by the place that a file tells, and stretches it over odd sides; both would add up
    from pass to pass. Odd sides become even here, by repeating the last row or column.
    """
    planes = frame.planes
    if len(planes) < 3 or planes[1].width == planes[0].width:
        return frame
    plain = VideoFrame(frame.width + frame.width % 2, frame.height + frame.height % 2, frame.format.name)
    for source, target in zip(planes, plain.planes, strict=True):
        old, new = from_dlpack(source), from_dlpack(target)
        rows, columns = old.shape
        new[:rows, :columns] = old
        new[:rows, columns:] = old[:, -1:]
        new[rows:] = new[rows - 1]
    plain.colorspace, plain.color_range = frame.colorspace, frame.color_range
    return plain
