"""What a user chooses about the encoding of a video, and what that makes for one file.

The text under each field is also its line in `keyface edit --help`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from keyface.video.encoders import Codec, Encoder, encoders_here, find_encoder
from keyface.video.formats import FORMATS, format_of, is_still

if TYPE_CHECKING:
    from keyface.video.reader import VideoReader

_WORST = 63


@dataclass(frozen=True)
class Encoding:
    """Choose how a video is encoded."""

    codec: Codec | None = None
    """`h264` plays everywhere; `h265` and `av1` make smaller files; `vp9` and `av1` go into .webm; `prores`
    is for cutting, in .mov. None takes h264, and vp9 for .webm."""
    quality: int | None = None
    """Constant rate factor: lower is better and larger. 0 to 51 for h264 and h265, 0 to 63 for vp9 and av1.
    None takes 16 for h264, 18 for h265, 20 for vp9 and av1."""
    preset: str | None = None
    """Speed, in the encoder's own words: `ultrafast` to `placebo` for h264 and h265, 8 (fast) to 0 for vp9,
    13 (fast) to 0 for av1; for prores `proxy`, `lt`, `standard` or `hq`. None leaves it to the encoder."""
    ten_bit: bool = False
    """Write 10 bits a sample, as high dynamic range and smooth gradients need."""
    like_source: bool = False
    """Take codec, bits and about the bit rate from the source."""

    def __post_init__(self) -> None:
        if self.codec is not None:
            self.encoder(self.codec)
        elif self.quality is not None and not 0 <= self.quality <= _WORST:
            raise ValueError(f"encoding.quality is {self.quality}; it must be from 0 to {_WORST}")
        for name in ("codec", "quality"):
            if self.like_source and getattr(self, name) is not None:
                raise ValueError(f"encoding.like_source and encoding.{name} exclude each other; give one")

    def encoder(self, codec: Codec) -> Encoder:
        """Return the encoder for a codec, after checking that it can do what is chosen.

        Raises:
            ValueError: It is not there, or quality, preset or bits do not fit it.
        """
        encoder = find_encoder(codec)
        if self.quality is not None and encoder.quality is None:
            raise ValueError(
                f"encoding.quality is {self.quality}, but {codec} has none; choose a preset: "
                f"{', '.join(encoder.presets)}"
            )
        if self.quality is not None and not 0 <= self.quality <= encoder.worst:
            raise ValueError(
                f"encoding.quality is {self.quality}; for {codec} it must be from 0 to {encoder.worst}"
            )
        if self.preset is not None and self.preset not in encoder.presets:
            raise ValueError(
                f"encoding.preset is {self.preset!r}; for {codec} choose one of {', '.join(encoder.presets)}"
            )
        if self.ten_bit and 10 not in encoder.bits_here:
            able = [name for name, other in encoders_here().items() if 10 in other.bits_here]
            raise ValueError(
                f"encoding.ten_bit: the encoder {encoder.name} of this PyAV writes {codec} in 8 bits only; "
                f"10 bits go with {', '.join(able)}"
            )
        return encoder


@dataclass(frozen=True)
class Choice:
    """What one file is encoded with.

    Attributes:
        encoder: FFmpeg's encoder.
        options: Its options.
        bits: Bits a sample.
        bit_rate: Bits a second; None where the quality is constant.
    """

    encoder: Encoder
    options: dict[str, str]
    bits: int
    bit_rate: int | None = None


def choose(encoding: Encoding, path: Path, like: VideoReader | None) -> Choice:
    """Return what a file is to be encoded with.

    Args:
        encoding: What the user chose.
        path: The file, whose suffix decides where nothing else does.
        like: The source; None where there is none.

    Raises:
        ValueError: The kind of file does not take the codec, or the encoder not the choice.
    """
    takes = format_of(path).video
    codec, bits, bit_rate = encoding.codec or takes[0], 8, None
    if encoding.like_source:
        if like is None:
            raise ValueError(f"{path}: encoding.like_source needs a source")
        if is_still(like.path):
            raise ValueError(
                f"{path}: encoding.like_source: {like.path.name} is a picture, so there is no codec to take "
                "over; leave it out, or give encoding.codec"
            )
        codec, bits, bit_rate = _source_codec(like, path)
    if codec not in takes:
        fitting = [suffix for suffix, each in FORMATS.items() if codec in each.video]
        raise ValueError(
            f"{path}: {path.suffix} does not take {codec}; choose {' or '.join(takes)}, or write to "
            f"{' or '.join(fitting)}"
        )
    encoder = encoding.encoder(codec)
    wanted = 10 if encoding.ten_bit else bits
    if wanted not in encoder.bits_here:
        wanted = encoder.bits_here[0]
        if wanted < bits:
            warnings.warn(
                f"{path}: the encoder {encoder.name} of this PyAV writes {wanted} bits, not {bits}",
                stacklevel=3,
            )
    options = dict(encoder.options)
    if bit_rate is not None:
        options |= encoder.rate_options
    elif encoder.quality is not None:
        options["crf"] = str(encoder.quality if encoding.quality is None else encoding.quality)
    if wanted == 10:
        options |= encoder.ten_bit_options
    if encoding.preset is not None:
        options[encoder.preset_option] = encoding.preset
    return Choice(encoder, options, wanted, bit_rate if encoder.quality is not None else None)


def _source_codec(like: VideoReader, path: Path) -> tuple[Codec, int, int]:
    """Return codec, bits a sample and bits a second of a source; the packets are counted, not believed."""
    from keyface.video.container import open_container, video_stream

    with open_container(like.path) as container:
        stream = video_stream(container, like.path)
        name = stream.codec_context.codec.canonical_name
        bits = max(component.bits for component in stream.format.components)
        size, first, last = 0, None, 0
        for packet in container.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            size += packet.size
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
        seconds = (last - (first or 0)) * (stream.time_base or 1)
    rate = round(8 * size / seconds) if seconds > 0 else 0
    known = {encoder.source: codec for codec, encoder in encoders_here().items()}
    codec = known.get(name)
    if codec is None or rate == 0:
        raise ValueError(
            f"{path}: encoding.like_source: {name}, the codec of {like.path.name}, is not written; give "
            f"encoding.codec in its place: {', '.join(get_args(Codec))}"
        )
    return codec, 10 if bits > 8 else 8, rate
