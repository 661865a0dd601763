"""The stream of pictures in a new file: its size, colours, shape of pixels and bits."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from keyface.pictures import to_uint8
from keyface.video.carrying.tracks import AnyPacket
from keyface.video.encoders import Encoder, encoders_here
from keyface.video.encoding import Choice
from keyface.video.formats import Format, format_of
from keyface.video.reader import Timing, VideoReader

UNSPECIFIED_COLORSPACE = 2
SQUARE = Fraction(1)


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
        like: The source whose colours are kept.

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
        like: VideoReader | None,
    ) -> None:
        encoder = choice.encoder
        stream = target.add_stream(encoder.name, rate=fps, options=choice.options)
        assert isinstance(stream, VideoStream)
        self.stream = stream
        self._time_base = time_base
        self._ten_bit = choice.bits > 8
        self._timed_from = encoder.timed_from
        self._frames = 0
        self._durations: dict[int, int] = {}
        self._colorspace: int | None = None
        aspect = SQUARE if like is None else like.pixel_aspect
        self._height, self._width = height, width
        if keeps_aspect(encoder, takes):
            stream.codec_context.sample_aspect_ratio = aspect
        else:
            self._height, self._width = square_size(height, width, aspect)
        stream.width, stream.height = self._width, self._height
        stream.pix_fmt = encoder.pixel_format(choice.bits, self._height, self._width)
        stream.codec_context.time_base = stream.time_base = time_base
        if choice.bit_rate is not None:
            stream.bit_rate = choice.bit_rate
        if takes.muxer in ("mp4", "mov") and encoder.mp4_tag is not None:
            stream.codec_context.codec_tag = encoder.mp4_tag
        if like is not None and like.colorspace != UNSPECIFIED_COLORSPACE:
            self._colorspace = stream.codec_context.colorspace = like.colorspace

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
        levels = to_uint16(image).numpy() if self._ten_bit else to_uint8(image).numpy()
        samples = np.ascontiguousarray(levels.transpose(1, 2, 0))
        return VideoFrame.from_ndarray(samples, format="rgb48le" if self._ten_bit else "rgb24").reformat(
            self._width, self._height, self.stream.pix_fmt, dst_colorspace=self._colorspace
        )

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


def warn_of_size(choice: Choice, path: Path, height: int, width: int, aspect: Fraction = SQUARE) -> None:
    """Say when pictures are resampled, or make a file that few players show.

    Neither H.264 nor H.265 can crop 4:2:0 by one pixel: both count the cropping in pairs of pixels. So odd
    sides are kept by sampling colour in full.

    Args:
        choice: What they are encoded with.
        path: The new file.
        height: Of the pictures.
        width: Of the pictures.
        aspect: Width of a pixel in its heights.
    """
    encoder, takes = choice.encoder, format_of(path)
    if aspect != 1 and not keeps_aspect(encoder, takes):
        height, width = square_size(height, width, aspect)
        warnings.warn(
            f"{path}: {encoder.codec} in {path.suffix} cannot say that pixels are {aspect} times as wide as "
            f"high; the pictures are resampled to {width}x{height} square ones",
            stacklevel=4,
        )
    if encoder.needs_even and (height % 2 or width % 2):
        here = encoders_here()
        able = [codec for codec in takes.video if codec in here and not here[codec].needs_even]
        other = f"--encoding.codec {able[0]}" if able else ".mp4 with codec vp9"
        warnings.warn(
            f"{path}: {width}x{height} is odd, which {encoder.codec} keeps only in 4:4:4, and browsers, "
            f"phones and televisions do not play that; {other} plays",
            stacklevel=4,
        )


def to_uint16(image: Tensor) -> Tensor:
    """Turn an image in [-1, 1] into the nearest uint16 values, on the CPU.

    Args:
        image: Any shape; values outside [-1, 1] are clamped. 8-bit images are spread over 16 bits.
    """
    if image.dtype == torch.uint8:
        return image.cpu().to(torch.int32).mul(257).to(torch.uint16)
    return image.detach().float().add(1).mul(32767.5).round().clamp(0, 65535).to("cpu", torch.uint16)
