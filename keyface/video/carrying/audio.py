"""Carrying a source's sound over: copied where the new file takes it, else encoded with all its channels."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer

from keyface.video.carrying.tracks import AnyPacket, CopiedTrack, Span, Track
from keyface.video.formats import Format

_LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1"),
    "libopus": ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"),
}
"""How each encoder calls 1 to 8 channels."""

_RATES = {
    "aac": (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    "libopus": (48000,),
}
_USUAL_RATE = 48000
_KINDS = {"u": "u", "s": "i", "f": "f", "d": "f"}
"""First letter of FFmpeg's sample formats → NumPy's kinds of numbers."""

_BITS_A_CHANNEL = 96_000
"""A second; transparent to most ears with either encoder."""


def add_audio(source: AudioStream, target: OutputContainer, takes: Format, span: Span, path: Path) -> Track:
    """Add a stream for the source's sound to a new file.

    Args:
        source: Sound of the source.
        target: The new file.
        takes: What the new file takes.
        span: The part that is taken.
        path: The new file's name, for messages.

    Raises:
        ValueError: There are more channels than the new file's encoder has.
    """
    if source.codec_context.codec.canonical_name in takes.audio:
        return CopiedTrack(target.add_stream_from_template(source), span)
    encoder, channels = takes.audio_encoder, source.layout.nb_channels
    if channels > len(_LAYOUTS[encoder]):
        raise ValueError(
            f"{path}: a sound track has {channels} channels, {encoder} takes {len(_LAYOUTS[encoder])}; write "
            "to .mov or .mkv, which keep it as it is"
        )
    layout = source.layout.name if _takes(encoder, source.layout.name) else _LAYOUTS[encoder][channels - 1]
    rate = source.rate if source.rate in _RATES[encoder] else _USUAL_RATE
    stream = target.add_stream(encoder, rate=rate, layout=layout)
    assert isinstance(stream, AudioStream)
    stream.bit_rate = channels * _BITS_A_CHANNEL
    return EncodedTrack(stream, layout, span)


class EncodedTrack:
    """Sound that is decoded, cut to the sample and encoded.

    Args:
        target: Stream of the new file.
        layout: FFmpeg's name of its channels, as many as the source has.
        span: What is taken.
    """

    def __init__(self, target: AudioStream, layout: str, span: Span) -> None:
        self._target = target
        self._layout = layout
        self._span = span

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Yield what the encoder returns for a packet."""
        for frame in cast("list[AudioFrame]", packet.decode()):
            cut = self._cut(frame)
            if cut is not None:
                yield from self._target.encode(cut)

    def finish(self) -> Iterable[AnyPacket]:
        """Return what the encoder holds back."""
        return self._target.encode(None)

    def _cut(self, frame: AudioFrame) -> AudioFrame | None:
        """Return the samples inside the span, with the channels named as the encoder takes them."""
        rate, whole = frame.sample_rate, self._span == Span()
        if whole and frame.layout.name == self._layout:
            return frame
        begin = (frame.pts or 0) * (frame.time_base or Fraction(1, rate))
        first, last = 0, frame.samples
        if self._span.start is not None:
            first = max(0, ceil((self._span.start - begin) * rate))
        if self._span.end is not None:
            last = min(last, ceil((self._span.end - begin) * rate))
        if first >= last:
            return None
        samples = interleaved(frame)[first:last].reshape(1, -1)
        cut = AudioFrame.from_ndarray(np.ascontiguousarray(samples), frame.format.packed.name, self._layout)
        cut.sample_rate = rate
        cut.time_base = Fraction(1, rate)
        cut.pts = round((begin - self._span.shift) * rate) + first
        return cut


def interleaved(frame: AudioFrame) -> npt.NDArray[Any]:
    """Return a frame's samples, (samples, channels).

    `AudioFrame.to_ndarray` reads beyond the planes of eight and more channels, and crashes.
    """
    channels = frame.layout.nb_channels
    kind = np.dtype(f"{_KINDS[frame.format.name[0]]}{frame.format.bytes}")
    if not frame.format.is_planar:
        return np.frombuffer(bytes(frame.planes[0]), kind, frame.samples * channels).reshape(-1, channels)
    return np.stack(
        [np.frombuffer(bytes(plane), kind, frame.samples) for plane in frame.planes[:channels]], axis=1
    )


@cache
def _takes(encoder: str, layout: str) -> bool:
    """Tell whether an encoder takes channels of this name; a bare number of them is none."""
    context = cast(AudioCodecContext, AudioCodecContext.create(encoder, "w"))
    try:
        context.layout, context.sample_rate = layout, _USUAL_RATE
        context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True
