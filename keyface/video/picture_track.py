"""The stream of pictures in a new file: its size, colours, shape of pixels and bits."""

import warnings
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from keyface.pictures import from_uint8
from keyface.video.carrying.tracks import AnyPacket
from keyface.video.colour import FULL_RANGE, HIGH_DYNAMIC_RANGE, Appearance, from_rgb
from keyface.video.encoders import Encoder, encoders_here
from keyface.video.encoding import Choice
from keyface.video.formats import Format, format_of
from keyface.video.reader import Timing


class PictureTrack:
    """Encodes pictures into a stream of a new file.

    Args:
        target: The new file.
        choice: What it is encoded with.
        takes: What the kind of file takes.
        height: Of the pictures, in pixels.
        width: Of the pictures, in pixels.
        fps: Frames per second, on average.
        time_base: Seconds per unit of a time stamp.
        appearance: How the source's frames are shown, which is kept.

    Attributes:
        stream: The stream.
    """

    def __init__(
        self,
        target: OutputContainer,
        choice: Choice,
        takes: Format,
        *,
        height: int,
        width: int,
        fps: Fraction,
        time_base: Fraction,
        appearance: Appearance,
    ) -> None:
        encoder = choice.encoder
        stream = target.add_stream(encoder.name, rate=fps, options=choice.options)
        assert isinstance(stream, VideoStream)
        self.stream = stream
        self._time_base = time_base
        self._timed_from = encoder.timed_from
        self._frames = 0
        self._durations: dict[int, int] = {}
        self._appearance = appearance.as_yuv(keeps_full_range=encoder.keeps_full_range)
        self._size = height, width
        if appearance.pixel_aspect != 1:
            if keeps_aspect(encoder, takes):
                stream.codec_context.sample_aspect_ratio = appearance.pixel_aspect
            else:
                self._size = square_size(height, width, appearance.pixel_aspect)
        stream.height, stream.width = self._size
        stream.pix_fmt = encoder.pixel_format(choice.bits, *self._size)
        stream.codec_context.time_base = stream.time_base = time_base
        if choice.bit_rate is not None:
            stream.bit_rate = choice.bit_rate
        if takes.muxer in ("mp4", "mov") and encoder.mp4_tag is not None:
            stream.codec_context.codec_tag = encoder.mp4_tag
        self._tag(stream.codec_context)

    def _tag(self, context: VideoCodecContext) -> None:
        """Say how the colours are to be shown."""
        context.colorspace = self._appearance.colorspace
        context.color_primaries = self._appearance.primaries
        context.color_trc = self._appearance.transfer
        if self._appearance.full_range:
            context.color_range = FULL_RANGE

    def encode(self, image: Tensor, timing: Timing) -> list[AnyPacket]:
        """Return the packets that are ready after one more picture.

        Args:
            image: (3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.
            timing: When it is shown.
        """
        self._frames += 1
        frame = self._frame(image)
        frame.pts, frame.time_base = timing.pts, self._time_base
        self._durations[timing.pts] = timing.duration
        return self._lasting(self.stream.encode(frame))

    def finish(self) -> list[AnyPacket]:
        """Return the packets that the encoder holds back."""
        packets = self._lasting(self.stream.encode(None))
        if self._frames < self._timed_from:
            for packet in packets:
                packet.dts = packet.pts  # so few are not reordered
        return packets

    def _frame(self, image: Tensor) -> VideoFrame:
        height, width = image.shape[1:]
        if (height, width) != self._size:
            pixels = from_uint8(image) if image.dtype == torch.uint8 else image.float()
            image = F.interpolate(pixels[None], self._size, mode="bicubic", antialias=True)[0]
        return from_rgb(image, self.stream.pix_fmt or "", self._appearance)

    def _lasting(self, packets: list[AnyPacket]) -> list[AnyPacket]:
        """Give packets their durations, which the encoder drops: the last frame would last no time."""
        for packet in packets:
            duration = self._durations.pop(packet.pts or 0, None)
            if duration is not None:
                packet.duration = duration
        return packets


def keeps_aspect(encoder: Encoder, takes: Format) -> bool:
    """Tell whether the new file says how wide its pixels are."""
    return encoder.keeps_aspect or takes.keeps_aspect


def square_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """Return the height and width of pictures as they are shown, with square pixels, none left out.

    Args:
        height: Of the pictures as they are stored.
        width: Of the pictures as they are stored.
        aspect: Width of a stored pixel in its heights.
    """
    return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)


def warn_of_changes(choice: Choice, path: Path, height: int, width: int, appearance: Appearance) -> None:
    """Say what the new file shows otherwise than its source, and what few players show.

    Neither H.264 nor H.265 can crop 4:2:0 by one pixel: both count the cropping in pairs of pixels. So odd
    sides are kept by sampling colour in full.

    Args:
        choice: What the pictures are encoded with.
        path: The new file.
        height: Of the pictures.
        width: Of the pictures.
        appearance: How the source's frames are shown.
    """
    encoder, takes, found = choice.encoder, format_of(path), []
    if appearance.pixel_aspect != 1 and not keeps_aspect(encoder, takes):
        height, width = square_size(height, width, appearance.pixel_aspect)
        found.append(
            f"{encoder.codec} in {path.suffix} cannot say that pixels are {appearance.pixel_aspect} times as "
            f"wide as high; the pictures are resampled to {width}x{height} square ones"
        )
    if appearance.full_range and not encoder.keeps_full_range:
        found.append(f"{encoder.codec} cannot say that its range is full; it is made limited")
    if appearance.transfer in HIGH_DYNAMIC_RANGE and choice.bits == 8:
        found.append("high dynamic range in 8 bits shows bands; --encoding.ten_bit true avoids them")
    if encoder.needs_even and (height % 2 or width % 2):
        here = encoders_here()
        able = [codec for codec in takes.video if codec in here and not here[codec].needs_even]
        other = f"--encoding.codec {able[0]}" if able else ".mp4 with codec vp9"
        found.append(
            f"{width}x{height} is odd, which {encoder.codec} keeps only in 4:4:4, and browsers, phones and "
            f"televisions do not play that; {other} plays"
        )
    for each in found:
        warnings.warn(f"{path}: {each}", stacklevel=4)
