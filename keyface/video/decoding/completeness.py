"""Whether a file holds all that it declares; broken downloads and recordings stop without a word."""

import math
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from keyface.video.container import open_container, video_stream

_FRAMES = 3
_SECONDS = Fraction(1, 10)
"""Streams of a whole file end this close to each other and to what it declares, or within so many frames."""

_OPEN = {bytes.fromhex("18538067"), bytes.fromhex("1f43b675")}
"""Matroska's Segment and Cluster, whose size a live recording leaves open."""


def check_complete(path: Path, end: Fraction, fps: Fraction) -> str | None:
    """Compare the end of what can be decoded with what the file says and with its other streams.

    Args:
        path: The file.
        end: When its last frame ends, in the file's seconds.
        fps: Its frames per second.

    Returns:
        What makes it look cut off where it declares no length; None where nothing does.

    Raises:
        ValueError: It declares to last longer.
    """
    allowed = max(_FRAMES / fps, _SECONDS)
    with open_container(path) as container:
        stream = video_stream(container, path)
        assert stream.time_base is not None
        declared = Fraction(container.duration or 0, av.time_base)
        if stream.duration:
            declared = (stream.duration + (stream.start_time or 0)) * stream.time_base
        elif declared and declared - end > allowed:
            end = max(end, *_ends(container).values())
        elif not declared:
            return _doubt(path, end, allowed, _ends(container))
    if declared - end > allowed:
        raise ValueError(
            f"{path}: cut off: it declares {float(declared):.2f} s but only {float(end):.2f} s can be "
            f"decoded; get it again, or take what is there by --end {_rounded_down(end)}"
        )
    return None


def _rounded_down(seconds: Fraction) -> str:
    """Return seconds for an option, to the hundredth and not after the end."""
    return f"{math.floor(seconds * 100) / 100:.2f}"


def _doubt(path: Path, end: Fraction, allowed: Fraction, ends: dict[str, Fraction]) -> str | None:
    """Return what makes a file without a declared length look cut off."""
    signs = []
    sound = ends.get("audio")
    if sound is not None and abs(sound - end) > allowed:
        signs.append(f"the pictures end at {float(end):.2f} s and the sound at {float(sound):.2f} s")
    elif ends.get("video", end) - end > allowed:
        signs.append(
            f"the pictures go on to {float(ends['video']):.2f} s, of which {float(end):.2f} s decode"
        )
    if _stops_within_a_block(path):
        signs.append("the file stops within a block")
    return f"declares no length and looks cut off: {', and '.join(signs)}" if signs else None


def _ends(container: InputContainer) -> dict[str, Fraction]:
    """Return when the last packet of each kind of stream ends, in seconds."""
    ends: dict[str, Fraction] = defaultdict(Fraction)
    for packet in container.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            kind = packet.stream.type
            ends[kind] = max(ends[kind], (stamp + (packet.duration or 0)) * packet.time_base)
    return dict(ends)


def _stops_within_a_block(path: Path) -> bool:
    """Return whether the last element of a Matroska file is longer than the file (RFC 8794)."""
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        if file.read(4) != bytes.fromhex("1a45dfa3"):
            return False
        while position < size:
            file.seek(position)
            head = file.read(12)
            name = 9 - head[0].bit_length() if head[0] else 9
            if len(head) <= name or name > 4 or head[name] == 0:
                return True
            length = 9 - head[name].bit_length()
            field = head[name : name + length]
            value = int.from_bytes(field) & (1 << 7 * length) - 1
            position += name + length
            if len(field) < length:
                return True
            if head[:name] not in _OPEN or value != (1 << 7 * length) - 1:
                position += value
    return position > size
