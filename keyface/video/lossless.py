"""Clips written without any loss, for what is measured later: the codec shall not count as the edit's."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from torch import Tensor

from keyface.files import publish, temporary_beside
from keyface.pictures import to_uint8


def write_lossless(
    path: Path, frames: Tensor, fps: Fraction | int, metadata: Mapping[str, str] | None = None
) -> None:
    """Write an .mp4 of which a reader gets the same 8-bit pixels: H.264 in RGB with a quantizer of 0.

    Many players show no H.264 in RGB; `keyface.video.write_clip` is for people.

    Args:
        path: The target; the file appears only when it is whole.
        frames: (T, 3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.
        fps: Frames per second.
        metadata: Container tags.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with av.open(str(temporary), mode="w", format="mp4") as container:
            container.metadata.update(metadata or {})
            stream = container.add_stream("libx264rgb", rate=fps, options={"qp": "0"})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], "rgb24"
            for index, image in enumerate(to_uint8(frames).permute(0, 2, 3, 1).contiguous().numpy()):
                frame = VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
