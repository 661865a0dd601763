"""What one sample of a shard is, and how its members are checked and decoded.

A sample is a few files of a tar archive with a common key: `{key}.json`, `{key}.jpg` (or `.png`) and,
optionally, `{key}.txt` (a caption that wins over the one in the JSON), `{key}.mask.png` and
`{key}.latents.safetensors`. Nothing else is ever decoded, and keys never become paths.
"""

import io
import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from keyface.celeba import CELEBA_ATTRIBUTES, REGIONS
from keyface.untrusted import UntrustedError, is_finite_number, parse_json

SCHEMA = 1
IMAGE_FORMATS: Mapping[str, str] = {"jpg": "JPEG", "png": "PNG"}
MASK, LATENTS = "mask.png", "latents.safetensors"
MEMBERS: tuple[str, ...] = ("json", *IMAGE_FORMATS, "txt", MASK, LATENTS)
MAX_SIDE = 8192
"""Larger images are taken for decompression bombs."""

_KEY = re.compile(r"[A-Za-z0-9_-]+")


_LATENT_TYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}

_DAMAGE = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, MemoryError, EOFError,
           struct.error, zlib.error, Image.DecompressionBombError)  # fmt: skip
"""What Pillow's decoders raise for damaged pictures."""


class SampleError(ValueError):
    """A sample that cannot be used; the reader adds the shard and the key."""


@dataclass(frozen=True)
class Record:
    """What `{key}.json` says.

    Attributes:
        identity: Who is in the image.
        caption: What the image shows.
        attributes: CelebA's 40 names, and possibly more, to whether they hold.
        landmarks: Eyes, nose, mouth corners, (5, 2) as (x, y) in pixels of the stored image.
    """

    identity: int
    caption: str
    attributes: Mapping[str, bool]
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class Latents:
    """What `{key}.latents.safetensors` holds.

    Attributes:
        latent: The autoencoder's latent, (C, h, w).
        inverted: DDIM-inverted latents, (K, C, h, w).
        timesteps: The timestep of each, (K,) int64.
    """

    latent: Tensor
    inverted: Tensor
    timesteps: Tensor


@dataclass(frozen=True)
class Sample:
    """One decoded sample.

    Attributes:
        key: Its name, unique in the data set.
        image: (H, W, 3) uint8, RGB.
        record: Caption, labels, landmarks, identity.
        mask: CelebAMask-HQ class of each pixel, (H, W) uint8.
        latents: The autoencoder's and the inverted latents.
    """

    key: str
    image: NDArray[np.uint8]
    record: Record
    mask: NDArray[np.uint8] | None = None
    latents: Latents | None = None


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into key and extension, refusing what a shard must not hold.

    Example:
        >>> split_name("000012.mask.png")
        ('000012', 'mask.png')
    """
    key, _, extension = name.partition(".")
    if not _KEY.fullmatch(key):
        raise SampleError(f"refused member {name!r}: a key is letters, digits, '_' and '-', never a path")
    if extension not in MEMBERS:
        raise SampleError(f"refused member {name!r}: only {', '.join(MEMBERS)} are read")
    return key, extension


def parse_record(data: bytes) -> Record:
    """Read and check the bytes of `{key}.json`."""
    try:
        content = parse_json(data, "its json")
    except UntrustedError as error:
        raise SampleError(str(error)) from error
    if not isinstance(content, dict):
        raise SampleError("its json is not an object")
    missing = [name for name in ("identity", "caption", "attributes", "landmarks") if name not in content]
    if missing:
        raise SampleError(f"its json lacks {', '.join(missing)}")
    identity, caption = content["identity"], content["caption"]
    if isinstance(identity, bool) or not isinstance(identity, int) or not 0 <= identity < 2**63:
        raise SampleError(f"identity must be a whole number from 0 on, not {identity!r:.80}")
    if not isinstance(caption, str) or not caption.strip():
        raise SampleError("caption must be text and not empty")
    return Record(identity, caption, _attributes(content["attributes"]), _landmarks(content["landmarks"]))


def _attributes(value: object) -> dict[str, bool]:
    if not isinstance(value, dict) or not all(isinstance(held, bool) for held in value.values()):
        raise SampleError("attributes must map names to true or false")
    missing = [name for name in CELEBA_ATTRIBUTES if name not in value]
    if missing:
        raise SampleError(f"attributes lacks {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}")
    return value


def _landmarks(value: object) -> NDArray[np.float32]:
    points = value if isinstance(value, list) else []
    pairs = [point for point in points if isinstance(point, list) and len(point) == 2]
    numbers = [number for point in pairs for number in point]
    if len(points) != 5 or len(pairs) != 5:
        raise SampleError("landmarks must be five pairs [x, y]")
    if not all(is_finite_number(number) and abs(number) <= 2 * MAX_SIDE for number in numbers):
        raise SampleError(f"landmarks must be finite numbers, of pixels within {2 * MAX_SIDE}")
    landmarks = np.array(points, dtype=np.float32)
    spread = np.linalg.svd(landmarks - landmarks.mean(0), compute_uv=False)
    if spread[1] < 1e-2 * spread[0] or spread[0] < 1.0:
        raise SampleError("landmarks are collinear or in one place, no face can be aligned with them")
    return landmarks


def require_inside(landmarks: NDArray[np.float32], side: int) -> None:
    """Refuse landmarks that do not belong to a square image: further off it than half its side.

    A face that is cut by the border has some a little outside.

    Args:
        landmarks: (5, 2) as (x, y) in pixels.
        side: Of the image, in pixels.

    Raises:
        SampleError: One is off.
    """
    if np.abs(landmarks - side / 2).max() > side:
        raise SampleError(f"landmarks lie off its image of {side} pixels; they must be its own pixels")


def decode_image(data: bytes, extension: str) -> NDArray[np.uint8]:
    """Decode a square RGB image, (H, H, 3) uint8, with the decoder that the extension names and no other."""
    picture = _open(data, extension)
    if picture.width != picture.height:
        raise SampleError(f"its image is {picture.width}x{picture.height}; crop faces to squares first")
    return np.asarray(_load(picture).convert("RGB"), dtype=np.uint8)


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Decode a label map, (H, W) uint8 of CelebAMask-HQ's class ids."""
    picture = _open(data, "png")
    if picture.mode not in ("L", "P"):
        raise SampleError(f"its mask has mode {picture.mode}; it must be 8-bit class ids")
    labels = np.asarray(_load(picture), dtype=np.uint8)
    if labels.max() >= len(REGIONS):
        raise SampleError(f"its mask holds class {labels.max()}, the last is {len(REGIONS) - 1}")
    return labels


def decode_latents(data: bytes) -> Latents:
    """Read and check the bytes of `{key}.latents.safetensors`."""
    try:
        tensors = load_safetensors(data)
    except SafetensorError as error:
        raise SampleError(f"its latents cannot be read: {error}") from error
    missing = [name for name in ("latent", "inverted", "timesteps") if name not in tensors]
    if missing:
        raise SampleError(f"its latents lack {', '.join(missing)}")
    latent, inverted, timesteps = (tensors[name] for name in ("latent", "inverted", "timesteps"))
    if latent.ndim != 3 or inverted.shape[1:] != latent.shape or timesteps.shape != inverted.shape[:1]:
        raise SampleError("its latents must be (C, h, w), inverted (K, C, h, w) and timesteps (K,)")
    if {latent.dtype, inverted.dtype} - _LATENT_TYPES or timesteps.is_floating_point():
        raise SampleError("its latents must be float16, bfloat16, float32 or float64, its timesteps whole")
    if not len(timesteps) or not (latent.isfinite().all() and inverted.isfinite().all()):
        raise SampleError("its latents are empty or not finite")
    return Latents(latent.float(), inverted.float(), timesteps.to(torch.int64))


def encode(sample: Sample, image_format: str = "jpg") -> dict[str, bytes]:
    """Turn a sample into its members, extension → bytes; the JSON comes first so that it is found first."""
    record = sample.record
    content = {
        "id": sample.key,
        "identity": record.identity,
        "caption": record.caption,
        "attributes": dict(record.attributes),
        "landmarks": np.asarray(record.landmarks, dtype=np.float64).round(4).tolist(),
    }
    members = {"json": json.dumps(content, ensure_ascii=False).encode()}
    parse_record(members["json"])  # what is written can be read
    options = {"quality": 95, "subsampling": 0} if image_format == "jpg" else {}
    members[image_format] = _encode_picture(sample.image, IMAGE_FORMATS[image_format], **options)
    if sample.mask is not None:
        # A label map is made of runs: two thirds of the time, and an eighth smaller than by default.
        members[MASK] = _encode_picture(sample.mask, "PNG", compress_type=zlib.Z_RLE)
    if sample.latents is not None:
        members[LATENTS] = encode_latents(sample.latents)
    return members


def encode_latents(latents: Latents) -> bytes:
    """Turn latents into the bytes of `{key}.latents.safetensors`."""
    return save_safetensors(
        {
            "latent": latents.latent.contiguous(),
            "inverted": latents.inverted.contiguous(),
            "timesteps": latents.timesteps.contiguous(),
        }
    )


def _encode_picture(pixels: NDArray[np.uint8], codec: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec, **options)
    return buffer.getvalue()


def _open(data: bytes, extension: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=[IMAGE_FORMATS[extension]])
    except _DAMAGE as error:
        raise SampleError(f"its {extension} cannot be read: {error}") from error
    if not 0 < max(picture.size) <= MAX_SIDE:
        raise SampleError(f"its {extension} is {picture.width}x{picture.height}; the limit is {MAX_SIDE}")
    return picture


def _load(picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except _DAMAGE as error:
        raise SampleError(f"its {(picture.format or 'image').lower()} cannot be decoded: {error}") from error
    return picture
