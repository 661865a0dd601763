"""FFmpeg's video encoders, and their words for what a user chooses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

import av

Codec = Literal["h264", "h265", "vp9", "av1", "prores"]

_X26 = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

# SVT-AV1 writes its settings to stderr; 1 leaves its errors.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True)
class Encoder:
    """One encoder: its name in FFmpeg and how it is asked for quality, speed and bits.

    Attributes:
        name: FFmpeg's name.
        codec: What it writes.
        source: FFmpeg's name of the codec in files that are read.
        quality: Constant rate factor where none is chosen; None: it has no such setting.
        worst: The greatest constant rate factor; the least is 0.
        presets: From the fastest to the slowest, or by size; the first word of `--encoding.preset`'s choice.
        preset_option: FFmpeg's option that takes the preset.
        chroma: How colour is sampled: "420" or "422".
        bits: Bits a sample that it can write, before asking this PyAV's build.
        needs_even: Whether its 4:2:0 refuses odd sides.
        keeps_aspect: Whether its stream says by itself how wide a pixel is.
        keeps_full_range: Whether its stream can say that black is 0, not 16.
        options: Always given, so that the same frames give the same bytes.
        ten_bit_options: Given for 10 bits.
        rate_options: Given where a bit rate is asked for.
        timed_from: Frames from which on its packets say when to decode them. Of fewer, x265 gives the numbers
            that it finds in memory.
        mp4_tag: Four letters that .mp4 and .mov call it by, where FFmpeg's own do not play everywhere.
    """

    name: str
    codec: Codec
    source: str
    quality: int | None
    worst: int
    presets: tuple[str, ...]
    preset_option: str = "preset"
    chroma: str = "420"
    bits: tuple[int, ...] = (8, 10)
    needs_even: bool = False
    keeps_aspect: bool = False
    keeps_full_range: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    ten_bit_options: Mapping[str, str] = field(default_factory=dict)
    rate_options: Mapping[str, str] = field(default_factory=dict)
    timed_from: int = 1
    mp4_tag: str | None = None

    def pixel_format(self, bits: int, height: int, width: int) -> str:
        """Return FFmpeg's name of the pixel format for a size; 4:4:4 where 4:2:0 cannot hold odd sides."""
        odd = height % 2 or width % 2
        chroma = "444" if self.needs_even and odd else self.chroma
        return f"yuv{chroma}p" + ("" if bits == 8 else f"{bits}le")

    @property
    def bits_here(self) -> tuple[int, ...]:
        """Return the bits a sample that it can write as this PyAV was built."""
        formats = {each.name for each in av.codec.Codec(self.name, "w").video_formats or ()}
        return tuple(bits for bits in self.bits if self.pixel_format(bits, 2, 2) in formats)


ENCODERS = (
    # x264's macroblock tree reads beyond its rows: of 60 encodings of one clip of 208 pixels 21 differed.
    # Without it a file is 6 to 12 % larger and always the same (128 to 336 pixels, 8 frames).
    Encoder(
        "libx264",
        "h264",
        "h264",
        quality=16,
        worst=51,
        presets=(*_X26, "placebo"),
        needs_even=True,
        keeps_aspect=True,
        options={"mbtree": "0"},
    ),
    # As many frames at once as there are cores would make the file depend on the machine.
    Encoder(
        "libx265",
        "h265",
        "hevc",
        quality=18,
        worst=51,
        presets=(*_X26, "placebo"),
        needs_even=True,
        keeps_aspect=True,
        options={"x265-params": "log-level=none:frame-threads=2"},
        timed_from=3,
        mp4_tag="hvc1",  # Apple's players take no other
    ),
    Encoder(
        "libvpx-vp9",
        "vp9",
        "vp9",
        quality=20,
        worst=63,
        presets=tuple("876543210"),
        preset_option="cpu-used",
        ten_bit_options={"profile": "2"},
    ),
    Encoder(
        "libsvtav1",
        "av1",
        "av1",
        quality=20,
        worst=63,
        presets=tuple(str(preset) for preset in range(13, -1, -1)),
        # With a bit rate, several threads give other bytes each time.
        rate_options={"svtav1-params": "lp=1"},
    ),
    Encoder(
        "libaom-av1",
        "av1",
        "av1",
        quality=20,
        worst=63,
        presets=tuple("876543210"),
        preset_option="cpu-used",
    ),
    Encoder(
        "prores_ks",
        "prores",
        "prores",
        quality=None,
        worst=0,
        presets=("proxy", "lt", "standard", "hq"),
        preset_option="profile",
        chroma="422",
        bits=(10,),
        keeps_full_range=False,
        options={"vendor": "apl0"},
    ),
)
"""All that may be there; of two for one codec the first is preferred."""


@cache
def encoders_here() -> dict[Codec, Encoder]:
    """Return the encoder of each codec that this PyAV can write."""
    found: dict[Codec, Encoder] = {}
    for encoder in ENCODERS:
        try:
            av.codec.Codec(encoder.name, "w")
        except ValueError:  # UnknownCodecError
            continue
        found.setdefault(encoder.codec, encoder)
    return found


def find_encoder(codec: Codec) -> Encoder:
    """Return the encoder of a codec.

    Raises:
        ValueError: There is no such codec, or this PyAV cannot write it; names those that it can.
    """
    here = encoders_here()
    if codec in here:
        return here[codec]
    reason = "this PyAV has no encoder for it" if codec in get_args(Codec) else "there is no such codec"
    raise ValueError(f"encoding.codec is {codec!r}, {reason}; choose one of {', '.join(here)}")
