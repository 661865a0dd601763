"""From one picture of CelebA-HQ to the members of one sample."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from keyface.celeba import PEOPLE, PHRASES
from keyface.datamodules.celeba.masks import read_mask
from keyface.datamodules.shard_files.batch import image_tensor
from keyface.datamodules.shard_files.schema import MAX_SIDE, Record, Sample, SampleError, encode
from keyface.faces.face_api import FaceApi


@dataclass(frozen=True)
class Picture:
    """One picture and what the lists say of it.

    Attributes:
        key: Its name without the ending.
        path: Where it is.
        labels: CelebA's 40 names to whether they hold.
        identity: Who is in it.
        landmarks: (5, 2) pixels (x, y) of the stored picture; None: to be detected.
    """

    key: str
    path: Path
    labels: Mapping[str, bool]
    identity: int
    landmarks: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Conversion:
    """How pictures become samples.

    Attributes:
        size: Side of the images, pixels.
        masks: Folder of masks, or None for samples without.
        detector: Folder of face-api's networks, for pictures without landmarks.
    """

    size: int
    masks: Path | None = None
    detector: Path | None = None


@dataclass(frozen=True)
class Converted:
    """What became of a picture: members, or why there are none.

    Attributes:
        key: Its key.
        members: Extension to bytes; empty where it is left out.
        no_face: The detector found no face.
        fault: What cannot be read, if anything.
    """

    key: str
    members: Mapping[str, bytes]
    no_face: bool = False
    fault: str = ""


def convert(pictures: list[Picture], how: Conversion) -> list[Converted]:
    """Convert pictures, in their order; what is wrong with one is in its result."""
    return [_convert(picture, how) for picture in pictures]


def _convert(picture: Picture, how: Conversion) -> Converted:
    try:
        pixels, side = read_picture(picture.path, how.size)
        if picture.landmarks is not None:
            # A pixel's coordinate is its centre's.
            landmarks: NDArray[np.float32] | None = (picture.landmarks + 0.5) * (how.size / side) - 0.5
        else:
            assert how.detector is not None, "there is a detector where there are no landmarks"
            landmarks = _detect(pixels, how.detector)
        if landmarks is None:
            return Converted(picture.key, {}, no_face=True)
        mask = read_mask(how.masks, picture.key, how.size) if how.masks is not None else None
        record = Record(picture.identity, caption_of(picture.labels), dict(picture.labels), landmarks)
        return Converted(picture.key, encode(Sample(picture.key, pixels, record, mask)))
    except SampleError as error:
        return Converted(picture.key, {}, fault=str(error))


def read_picture(path: Path, size: int) -> tuple[NDArray[np.uint8], int]:
    """Read a square picture, reduced while it is decoded where that is possible.

    A JPEG of twice or four times the size is decoded at that fraction, which is faster and nearly as good as
    Lanczos; the rest is done by Lanczos.

    Returns:
        (size, size, 3) uint8, and the side of the stored picture.

    Raises:
        SampleError: It cannot be read, or is not square.
    """
    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as picture:
            width, height = picture.size
            if width != height:
                raise SampleError(f"{path}: {width}x{height}; crop faces to squares first")
            if width > MAX_SIDE:
                raise SampleError(f"{path}: {width} pixels, the limit is {MAX_SIDE}")
            picture.draft("RGB", (size, size))
            decoded = picture.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path}: cannot be read: {error}") from error
    if decoded.size != (size, size):
        decoded = decoded.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(decoded, dtype=np.uint8), width


def _detect(pixels: NDArray[np.uint8], folder: Path) -> NDArray[np.float32] | None:
    found = _finder(folder).find(image_tensor(pixels, pixels.shape[0])[None])[0]
    if not found:
        return None
    landmarks: NDArray[np.float32] = found[0].landmarks.numpy().astype(np.float32)
    return landmarks


@functools.cache
def _finder(folder: Path) -> FaceApi:
    return FaceApi.load(folder)


def set_up_worker() -> None:
    """Set up a worker process: the processes share the cores already."""
    torch.set_num_threads(1)


_CAPTIONED = (
    "Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bangs", "Eyeglasses", "Wearing_Hat",
    "Goatee", "Mustache", "Wearing_Earrings", "Wearing_Lipstick", "Heavy_Makeup", "Smiling",
)  # fmt: skip
"""Attributes that a caption mentions, in its order."""


def caption_of(labels: Mapping[str, bool]) -> str:
    """Describe a face by its labels, until `keyface caption` looks at it.

    Example:
        >>> caption_of({"Male": True, "Young": False, "Gray_Hair": True, "Smiling": True})
        'a photo of an old man, gray hair, smiling'
    """
    person = PEOPLE[labels.get("Male", False), labels.get("Young", False)][0]
    said = [PHRASES[name][0] for name in _CAPTIONED if labels.get(name, False)]
    return ", ".join([f"a photo of {person}", *said])
