"""Carrying a source's audio over, copied packet by packet where that is possible."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import cast

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

COPIED_AUDIO = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}
"""Codecs that the formats above and their players take; others are encoded as AAC."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def audio_packets(
    source: InputContainer, target: OutputContainer
) -> Iterator[tuple[Fraction, "Packet[AudioStream]"]]:
    """Add the source's audio streams to the target and return their packets, each with its time in seconds.

    Packets are copied as they are where the codec is in `COPIED_AUDIO`, and otherwise encoded as AAC.
    """
    copied: dict[int, AudioStream] = {}
    encoded: dict[int, AudioStream] = {}
    for stream in source.streams.audio:
        if stream.codec_context.codec.canonical_name in COPIED_AUDIO:
            copied[stream.index] = target.add_stream_from_template(stream)
        else:
            # The layout may be a bare channel count, which the encoder refuses.
            layout = LAYOUTS.get(stream.layout.nb_channels, "stereo")
            encoded[stream.index] = target.add_stream("aac", rate=stream.rate, layout=layout)
    return _packets(source, copied, encoded)


def _packets(
    source: InputContainer, copied: Mapping[int, AudioStream], encoded: Mapping[int, AudioStream]
) -> Iterator[tuple[Fraction, "Packet[AudioStream]"]]:
    for untyped in source.demux(*source.streams.audio):
        packet = cast("Packet[AudioStream]", untyped)
        index, is_end_marker = packet.stream.index, packet.dts is None
        if index in encoded:
            ready = [coded for frame in packet.decode() for coded in encoded[index].encode(frame)]
            ready += encoded[index].encode(None) if is_end_marker else []
        elif is_end_marker:
            continue
        else:
            packet.stream = copied[index]
            ready = [packet]
        for each in ready:
            yield (each.dts or 0) * each.time_base, each
