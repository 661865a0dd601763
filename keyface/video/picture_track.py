"""The stream of pictures in a new file: its size, colours, shape of pixels and bits."""

from fractions import Fraction

from av.container import OutputContainer
from av.video.stream import VideoStream
from torch import Tensor

from keyface.video.carrying.tracks import AnyPacket
from keyface.video.colour import FULL_RANGE, Appearance, from_rgb
from keyface.video.encoding import Choice
from keyface.video.formats import Format
from keyface.video.reader import Timing, VideoReader


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
        self._durations: dict[int, int] = {}
        appearance = Appearance() if like is None else like.appearance
        self._appearance = appearance.as_yuv(keeps_full_range=encoder.keeps_full_range)
        stream.width, stream.height = width, height
        stream.pix_fmt = encoder.pixel_format(choice.bits, height, width)
        stream.codec_context.time_base = stream.time_base = time_base
        if choice.bit_rate is not None:
            stream.bit_rate = choice.bit_rate
        if takes.muxer in ("mp4", "mov") and encoder.mp4_tag is not None:
            stream.codec_context.codec_tag = encoder.mp4_tag
        context = stream.codec_context
        context.colorspace, context.color_primaries = self._appearance.colorspace, self._appearance.primaries
        context.color_trc = self._appearance.transfer
        if self._appearance.full_range:
            context.color_range = FULL_RANGE
        if encoder.keeps_aspect or takes.keeps_aspect:
            context.sample_aspect_ratio = self._appearance.pixel_aspect

    def encode(self, image: Tensor, timing: Timing) -> list[AnyPacket]:
        """Return the packets that are ready after one more picture.

        Args:
            image: (3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.
            timing: When it is shown.
        """
        frame = from_rgb(image, self.stream.pix_fmt or "", self._appearance)
        frame.pts, frame.time_base = timing.pts, self._time_base
        self._durations[timing.pts] = timing.duration
        return self._lasting(self.stream.encode(frame))

    def finish(self) -> list[AnyPacket]:
        """Return the packets that the encoder holds back."""
        return self._lasting(self.stream.encode(None))

    def _lasting(self, packets: list[AnyPacket]) -> list[AnyPacket]:
        """Give packets their durations, which the encoder drops: the last frame would last no time."""
        for packet in packets:
            duration = self._durations.pop(packet.pts or 0, None)
            if duration is not None:
                packet.duration = duration
        return packets
