"""Tracks of a source beside its pictures: copied packet by packet, shifted in time, cut."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, TypeAlias

from av.packet import Packet
from av.stream import Stream

AnyPacket: TypeAlias = "Packet[Any]"
"""PyAV types a packet by its stream, which differs here from packet to packet."""


class Span(NamedTuple):
    """The part of a source that is taken, in its own seconds.

    Attributes:
        start: What becomes 0; None: nothing is cut off there, and times stay as they are.
        end: None: all until the end.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    @property
    def shift(self) -> Fraction:
        """Return the seconds that are subtracted from all times."""
        return self.start or Fraction(0)

    def clip(self, begin: Fraction, end: Fraction) -> tuple[Fraction, Fraction] | None:
        """Return the part of an interval that is taken, in the new file's seconds; None if there is none."""
        if self.start is not None:
            begin, end = max(begin, self.start), max(end, self.start)
        if self.end is not None:
            begin, end = min(begin, self.end), min(end, self.end)
        return (begin - self.shift, end - self.shift) if begin < end else None


class Track(Protocol):
    """Turns the packets of one stream of the source into those of a stream of the new file."""

    def take(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Return what a packet becomes."""
        ...

    def finish(self) -> Iterable[AnyPacket]:
        """Return what is still held back after the last packet."""
        ...


class CopiedTrack:
    """Packets as they are; those that begin outside the span are left out, so a cut is right to one packet.

    Args:
        target: Stream of the new file.
        span: What is taken.
    """

    def __init__(self, target: Stream, span: Span) -> None:
        self._target = target
        self._span = span

    def take(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Return the packet, or nothing."""
        if packet.size == 0:  # the end of the stream
            return ()
        stamp = packet.pts if packet.pts is not None else packet.dts
        begin = (stamp or 0) * packet.time_base
        if self._span.start is not None and begin < self._span.start:
            return ()
        if self._span.end is not None and begin >= self._span.end:
            return ()
        shift_packet(packet, self._span.shift)
        packet.stream = self._target
        return (packet,)

    def finish(self) -> Iterable[AnyPacket]:
        """Return nothing."""
        return ()


def shift_packet(packet: AnyPacket, seconds: Fraction) -> None:
    """Make a packet earlier, to the nearest unit of its time base."""
    units = round(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts -= units
    if packet.dts is not None:
        packet.dts -= units
