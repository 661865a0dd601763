"""Video files with several tracks of sound and subtitles, chapters, tags and time codes, made with PyAV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
SAMPLES = {"s16": np.int16, "s32": np.int32}


@dataclass(frozen=True)
class Sound:
    """One track of sound; channel k is a tone of 200 + 100 k Hz.

    With steps it is heard in the second and fourth quarter of each second alone.
    """

    codec: str = "aac"
    layout: str = "stereo"
    language: str | None = None
    default: bool = True
    samples: str = "s16"
    rate: int = 48000
    title: str | None = None
    steps: bool = False


@dataclass(frozen=True)
class Text:
    """One track of subtitles: (first second, last second, text)."""

    codec: str
    lines: Sequence[tuple[float, float, str]]
    language: str | None = None
    default: bool = False


@dataclass(frozen=True)
class Rich:
    """What a file shall hold."""

    frames: int = 25
    fps: Fraction = Fraction(25)
    size: tuple[int, int] = (48, 64)
    codec: str = "libx264"
    pixels: str = "yuv420p"
    bit_rate: int = 0
    sounds: Sequence[Sound] = ()
    texts: Sequence[Text] = ()
    chapters: Sequence[tuple[float, float, str]] = ()
    tags: dict[str, str] = field(default_factory=dict)
    timecode: str | None = None
    attached: dict[str, bytes] = field(default_factory=dict)
    small_video_first: bool = False
    drawn_text: bytes | None = None
    aspect: Fraction | None = None
    colours: tuple[int, int, int, int] | None = None
    stamps: Sequence[int] | None = None
    """When each frame is shown, in milliseconds."""


def picture(index: int, height: int, width: int) -> np.ndarray:
    """A moving texture, (H, W, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 128 + 90 * np.sin((columns + 3 * index) / 7) * np.cos(rows / 9)
    green = 255 * rows / height
    blue = np.full_like(red, 40 + 5 * (index % 30))
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def tones(sound: Sound, seconds: float) -> np.ndarray:
    """The samples of a track before encoding, (channels, samples) in [-1, 1]."""
    channels = len(av.AudioLayout(sound.layout).channels)
    times = np.arange(round(sound.rate * seconds)) / sound.rate
    loud = np.floor(4 * times) % 2 if sound.steps else 1
    return np.stack([0.25 * loud * np.sin(2 * np.pi * (200 + 100 * k) * times) for k in range(channels)])


def make_rich(path: Path, rich: Rich) -> Path:
    """Write such a file."""
    seconds = float(rich.frames / rich.fps)
    with av.open(str(path), "w") as container:
        container.metadata.update(rich.tags)
        small = container.add_stream("libx264", rate=rich.fps) if rich.small_video_first else None
        if small is not None:
            small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
            small.disposition = 0
        video = container.add_stream(rich.codec, rate=rich.fps)
        video.height, video.width = rich.size
        video.pix_fmt = rich.pixels
        if rich.aspect:
            video.codec_context.sample_aspect_ratio = rich.aspect
        if rich.colours:
            context = video.codec_context
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = rich.colours
        if rich.bit_rate:
            video.bit_rate = rich.bit_rate
        if small is not None:
            video.disposition = Disposition.default
        if rich.stamps:
            video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        if rich.timecode:
            video.metadata["timecode"] = rich.timecode
        sounds = [_add_sound(container, sound) for sound in rich.sounds]
        texts = [_add_text(container, text) for text in rich.texts]
        for name, data in rich.attached.items():
            container.add_attachment(name, "font/ttf", data)
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": round(1000 * start),
                    "end": round(1000 * end),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(rich.chapters, 1)
            ]
        )
        drawn = container.add_mux_stream("hdmv_pgs_subtitle") if rich.drawn_text else None
        container.start_encoding()
        if small is not None:
            _encode_pictures(container, small, rich, (32, 32), "yuv420p")
        _encode_pictures(container, video, rich, rich.size, rich.pixels)
        for sound, stream in zip(rich.sounds, sounds, strict=True):
            peak = np.iinfo(SAMPLES[sound.samples]).max
            packed = (tones(sound, seconds) * peak).astype(SAMPLES[sound.samples]).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), sound.samples, sound.layout)
            frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for text, stream in zip(rich.texts, texts, strict=True):
            _encode_text(container, text, stream)
        if drawn is not None:
            packet = av.Packet(rich.drawn_text)
            packet.stream, packet.time_base, packet.pts, packet.dts = drawn, Fraction(1, 1000), 100, 100
            container.mux(packet)
    return path


def _add_sound(container: Any, sound: Sound) -> Any:
    stream = container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
    if sound.language:
        stream.metadata["language"] = sound.language
    if sound.title:
        stream.metadata["title"] = sound.title
    stream.disposition = Disposition.default if sound.default else 0
    return stream


def _add_text(container: Any, text: Text) -> Any:
    stream = container.add_stream(text.codec)
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    if text.language:
        stream.metadata["language"] = text.language
    stream.disposition = Disposition.default if text.default else 0
    return stream


def _encode_pictures(container: Any, stream: Any, rich: Rich, size: tuple[int, int], pixels: str) -> None:
    for index in range(rich.frames):
        frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = index, 1 / rich.fps
        if rich.stamps:
            frame.pts, frame.time_base = rich.stamps[index], Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _encode_text(container: Any, text: Text, stream: Any) -> None:
    for number, (start, end, line) in enumerate(text.lines):
        first, length = round(1000 * start), round(1000 * (end - start))
        said = SubtitleSet.create(f"{number},0,Default,,0,0,0,,{line}".encode(), 0, length, first)
        packet = stream.codec_context.encode_subtitle(said)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = first
        packet.duration = length
        container.mux(packet)


def said(path: Path, track: int = 0) -> list[tuple[Fraction, Fraction, str]]:
    """What a file's subtitles say: (first second, last second, text), from the first picture on."""
    found = []
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).pts * container.streams.video[0].time_base
        container.seek(0)
        stream = container.streams.subtitles[track]
        for packet in container.demux(stream):
            for each in packet.decode() if packet.size else ():
                begin = packet.pts * packet.time_base - start
                found.append(
                    (begin, begin + packet.duration * packet.time_base, each.dialogue.decode().strip())
                )
    return found


def heard(path: Path, track: int = 0) -> tuple[np.ndarray, int, Fraction]:
    """A track's sound, (channels, samples) in [-1, 1], its rate and the second of its first sample."""
    parts, first = [], None
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        rate, channels = stream.rate, stream.layout.nb_channels
        for frame in container.decode(stream):
            first = frame.pts * frame.time_base if first is None else first
            # PyAV's own conversion reads beyond the planes of eight channels.
            kind = {"s16": np.int16, "s32": np.int32, "flt": np.float32}[frame.format.packed.name]
            if frame.format.is_planar:
                planes = frame.planes[:channels]
                data = np.stack([np.frombuffer(plane, kind, frame.samples) for plane in planes])
            else:
                count = frame.samples * channels
                data = np.frombuffer(frame.planes[0], kind, count).reshape(-1, channels).T
            parts.append(data / (np.iinfo(data.dtype).max if data.dtype.kind == "i" else 1))
    assert first is not None
    return np.concatenate(parts, axis=1), rate, first


def pitches(path: Path, track: int = 0) -> list[int]:
    """The strongest frequency of each channel, rounded to 10 Hz."""
    samples, rate, _ = heard(path, track)
    middle = samples[:, rate // 10 : -rate // 10]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.shape[1])))
    return [round(peak * rate / middle.shape[1] / 10) * 10 for peak in spectrum.argmax(axis=1)]


def clip(frames: int = 8, height: int = 96, width: int = 128) -> torch.Tensor:
    images = np.stack([picture(index, height, width) for index in range(frames)])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def first_frame(path: Path) -> tuple[str, av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.codec.canonical_name, next(container.decode(stream))


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(-10 * torch.log10((first.float() - second.float()).div(255).square().mean()))
