"""Carrying subtitles over: copied where the new file takes them, else text turned into its kind of text."""

from collections.abc import Iterable
from fractions import Fraction

from av.container import OutputContainer
from av.subtitles.stream import SubtitleStream

from keyface.video.carrying.tracks import AnyPacket, Span, Track
from keyface.video.formats import Format

TEXT = {"subrip", "ass", "mov_text", "webvtt", "text"}
_MILLISECOND = Fraction(1, 1000)


def add_subtitles(source: SubtitleStream, target: OutputContainer, takes: Format, span: Span) -> Track | None:
    """Add a stream for the source's subtitles to a new file.

    Args:
        source: Subtitles of the source.
        target: The new file.
        takes: What the new file takes.
        span: The part that is taken.

    Returns:
        None where the new file takes neither them nor text made of them (they are pictures).
    """
    codec = source.codec_context.codec.canonical_name
    if codec in takes.subtitles:
        return CopiedSubtitles(target.add_stream_from_template(source), span)
    if codec not in TEXT:
        return None
    stream = target.add_stream(takes.subtitle_encoder)
    assert isinstance(stream, SubtitleStream)
    source.codec_context.open(strict=False)
    stream.codec_context.subtitle_header = source.codec_context.subtitle_header
    stream.codec_context.time_base = stream.time_base = _MILLISECOND
    return ConvertedSubtitles(source, stream, span)


class CopiedSubtitles:
    """Subtitles as they are, shown inside the span alone.

    Args:
        target: Stream of the new file.
        span: What is taken.
    """

    def __init__(self, target: SubtitleStream, span: Span) -> None:
        self._target = target
        self._span = span

    def take(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Return the packet with its new times, or nothing."""
        return _timed(packet, packet, self._target, self._span)

    def finish(self) -> Iterable[AnyPacket]:
        """Return nothing."""
        return ()


class ConvertedSubtitles:
    """Text that becomes another kind of text; what that cannot say, such as places and fonts, is lost.

    Args:
        source: Stream of the source.
        target: Stream of the new file.
        span: What is taken.
    """

    def __init__(self, source: SubtitleStream, target: SubtitleStream, span: Span) -> None:
        self._source = source
        self._target = target
        self._span = span

    def take(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Return the text with its new times, or nothing where the packet only ends an earlier one."""
        text = self._source.codec_context.decode2(packet) if packet.size else None
        if text is None or len(text) == 0:
            return ()
        return _timed(self._target.codec_context.encode_subtitle(text), packet, self._target, self._span)

    def finish(self) -> Iterable[AnyPacket]:
        """Return nothing."""
        return ()


def _timed(packet: AnyPacket, source: AnyPacket, target: SubtitleStream, span: Span) -> Iterable[AnyPacket]:
    """Return the packet, shown when the source's packet is, inside the span."""
    if source.size == 0:  # the end of the stream
        return ()
    unit, lasting = source.time_base, source.duration or 0
    begin = (source.pts or 0) * unit
    shown = span.clip(begin, begin + max(lasting, 1) * unit)
    if shown is None:
        return ()
    packet.time_base = unit
    packet.pts = packet.dts = round(shown[0] / unit)
    packet.duration = round(shown[1] / unit) - packet.pts if lasting else 0  # shown until the next one
    packet.stream = target
    return (packet,)
