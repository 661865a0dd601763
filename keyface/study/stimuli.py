"""The videos of a study: whether browsers play them, copies, and what is made of a source."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.video import Encoding, VideoReader, VideoWriter
from keyface.video.container import open_container, video_stream

BROWSERS = {
    ".mp4": ("h264", "av1", "vp9"),
    ".m4v": ("h264",),
    ".mov": ("h264",),
    ".webm": ("vp8", "vp9", "av1"),
}
"""Kinds of files and the codecs in them that current browsers play."""

_PIXELS = ("yuv420p", "yuvj420p")
_QUALITY = 12
"""Constant rate factor of what is encoded anew; beyond what people see."""

_TILES = 5
_HOLD = 6
"""Frames after which the tiles of a broken clip are shuffled anew."""


@dataclass(frozen=True)
class Seen:
    """What a file says of its video.

    Attributes:
        path: The file.
        plays: Whether current browsers play it as it is.
        seconds: How long it is, by its own word.
        aspect: Width by height.
    """

    path: Path
    plays: bool
    seconds: float
    aspect: float


def look_at(path: Path) -> Seen:
    """Return what a file says of its video, after one frame of it was decoded.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no video, or it is damaged.
    """
    reader = VideoReader(path)
    with open_container(path) as container:
        codec = video_stream(container, path).codec_context
        plays = codec.name in BROWSERS.get(path.suffix.lower(), ()) and codec.pix_fmt in _PIXELS
    aspect = float(reader.width * reader.pixel_aspect / reader.height)
    return Seen(path, plays, float(reader.declared_frames / reader.fps), aspect)


def copy(source: Path, target: Path) -> None:
    """Copy a video byte for byte."""
    shutil.copyfile(source, target)


def encode(source: Path, target: Path) -> None:
    """Write a video as H.264 that all browsers play, with the source's time stamps.

    Raises:
        ValueError: The source is damaged.
    """
    _rewrite(source, target, lambda frames, _: frames)


def break_clip(source: Path, target: Path) -> None:
    """Write a video that nobody can take for a good edit: shuffled tiles in inverted colours.

    Raises:
        ValueError: The source is damaged.
    """
    _rewrite(source, target, broken)


def soften_clip(source: Path, target: Path) -> None:
    """Write a video to practise on: blurred a little and tinted.

    Raises:
        ValueError: The source is damaged.
    """
    _rewrite(source, target, softened)


def broken(frames: Tensor, first: int = 0) -> Tensor:
    """Return frames (n, 3, H, W) in [-1, 1] in inverted colours, their tiles shuffled, anew every few frames.

    Args:
        frames: The frames.
        first: Number of the first of them.
    """
    height, width = (side // _TILES for side in frames.shape[2:])
    result = -frames
    if not height or not width:
        return result
    grid = len(frames), 3, _TILES, height, _TILES, width
    tiles = result[..., : _TILES * height, : _TILES * width].reshape(grid)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    orders = []
    for number in range(first, first + len(frames)):
        generator = torch.Generator().manual_seed(number // _HOLD)
        orders.append(torch.randperm(_TILES**2, generator=generator))
    tiles = tiles[torch.arange(len(frames))[:, None], torch.stack(orders)]
    tiles = tiles.reshape(len(frames), _TILES, _TILES, 3, height, width).permute(0, 3, 1, 4, 2, 5)
    result[..., : _TILES * height, : _TILES * width] = tiles.flatten(-2).flatten(-3, -2)
    return result


def softened(frames: Tensor, first: int = 0) -> Tensor:
    """Return frames (n, 3, H, W) in [-1, 1] at a quarter of their resolution, redder and less blue."""
    small = F.interpolate(frames, scale_factor=0.25, mode="area") if min(frames.shape[2:]) >= 8 else frames
    blurred = F.interpolate(small, size=frames.shape[2:], mode="bilinear", align_corners=False)
    return (blurred + torch.tensor([0.12, 0.0, -0.12])[:, None, None]).clamp(-1, 1)


def _rewrite(source: Path, target: Path, change: Callable[[Tensor, int], Tensor]) -> None:
    reader = VideoReader(source)
    with VideoWriter(target, like=reader, encoding=Encoding(codec="h264", quality=_QUALITY)) as writer:
        for first, frames in _numbered(reader):
            writer.write(change(frames, first))


def _numbered(reader: VideoReader) -> Iterator[tuple[int, Tensor]]:
    first = 0
    for frames in reader.chunks(reader.at_once()):
        yield first, frames
        first += len(frames)
