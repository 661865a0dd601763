"""The stream of pictures in a new file: its size, colours, shape of pixels and bits."""

from fractions import Fraction

import numpy as np
import torch
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from keyface.pictures import to_uint8
from keyface.video.carrying.tracks import AnyPacket
from keyface.video.encoding import Choice
from keyface.video.formats import Format
from keyface.video.reader import Timing, VideoReader

UNSPECIFIED_COLORSPACE = 2


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
        self._durations: dict[int, int] = {}
        self._colorspace: int | None = None
        stream.width, stream.height = width, height
        stream.pix_fmt = encoder.pixel_format(choice.bits, height, width)
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
        frame = self._frame(image)
        frame.pts, frame.time_base = timing.pts, self._time_base
        self._durations[timing.pts] = timing.duration
        return self._lasting(self.stream.encode(frame))

    def finish(self) -> list[AnyPacket]:
        """Return the packets that the encoder holds back."""
        return self._lasting(self.stream.encode(None))

    def _frame(self, image: Tensor) -> VideoFrame:
        levels = to_uint16(image).numpy() if self._ten_bit else to_uint8(image).numpy()
        samples = np.ascontiguousarray(levels.transpose(1, 2, 0))
        return VideoFrame.from_ndarray(samples, format="rgb48le" if self._ten_bit else "rgb24").reformat(
            format=self.stream.pix_fmt, dst_colorspace=self._colorspace
        )

    def _lasting(self, packets: list[AnyPacket]) -> list[AnyPacket]:
        """Give packets their durations, which the encoder drops: the last frame would last no time."""
        for packet in packets:
            duration = self._durations.pop(packet.pts or 0, None)
            if duration is not None:
                packet.duration = duration
        return packets


def to_uint16(image: Tensor) -> Tensor:
    """Turn an image in [-1, 1] into the nearest uint16 values, on the CPU.

    Args:
        image: Any shape; values outside [-1, 1] are clamped. 8-bit images are spread over 16 bits.
    """
    if image.dtype == torch.uint8:
        return image.cpu().to(torch.int32).mul(257).to(torch.uint16)
    return image.detach().float().add(1).mul(32767.5).round().clamp(0, 65535).to("cpu", torch.uint16)
