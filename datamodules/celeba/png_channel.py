"""The first channel of a PNG file: most of the time that CelebAMask-HQ takes is spent on its masks."""

import io
import struct

import numpy as np
from kornia_rs.io import decode_image_png_u8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from keyface.datamodules.shard_files.schema import MAX_SIDE, SampleError

_HEADER = struct.Struct(">16xIIBB2xB")
"""Signature and IHDR: width, height, bit depth, colour type, interlacing."""
_PLAIN = {(8, 0, 0): "mono", (8, 2, 0): "rgb", (8, 6, 0): "rgba"}
"""What kornia-rs decodes as Pillow does, by bit depth, colour type and interlacing."""


def first_channel(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG file's gray values, or its red ones where it has colours.

    Plain 8-bit files go to the decoder of kornia-rs, all others to Pillow. For an RGB mask of 512 pixels one
    takes .2 ms and the other 1.7, most of them in zlib 1.2, as in OpenCV and torchvision.

    Returns:
        (H, W) uint8.

    Raises:
        SampleError: It is no PNG file, damaged, or larger than `MAX_SIDE`.
    """
    if len(data) < _HEADER.size:
        raise SampleError("no PNG file")
    width, height, *kind = _HEADER.unpack_from(data)
    if not 0 < max(width, height) <= MAX_SIDE:
        raise SampleError(f"{width}x{height} pixels, the limit is {MAX_SIDE}")
    mode = _PLAIN.get((kind[0], kind[1], kind[2]))
    return _by_pillow(data) if mode is None else _plain(data, (height, width), mode)


def _plain(data: bytes, shape: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    try:
        pixels: NDArray[np.uint8] = decode_image_png_u8(data, shape, mode)
    except Exception as error:  # its decoder raises nothing narrower
        raise SampleError(str(error)) from error
    return pixels[..., 0]


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            channel = picture.getchannel(0) if picture.mode in ("RGB", "RGBA") else picture.convert("L")
            return np.asarray(channel, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(str(error)) from error
