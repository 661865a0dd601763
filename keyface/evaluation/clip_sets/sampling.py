"""Frames of a clip from its video: sampled at the clip's rate, cropped to a square, resized."""

from collections.abc import Sequence
from pathlib import Path

import av
import torch
from torch import Tensor

from keyface.evaluation.clip_sets.spec import Box, ClipSpec
from keyface.pictures import largest_square, resize_square
from keyface.video import VideoReader
from keyface.video.container import open_container, video_stream

_CHUNK = 8
_TOLERANCE_SECONDS = 1e-3
"""Time stamps are rounded to a stream's time base, often a millisecond."""


def sampled_frames(path: Path, clip: ClipSpec) -> Tensor:
    """Return the frames that a clip takes from its video.

    Frame i of the clip is the one that a player shows at `start + i / fps` seconds after the video's first,
    so a video of another or a varying rate is sampled and never interpolated.

    Args:
        path: The video.
        clip: Which frames; its `size` is that of the result.

    Returns:
        (T, 3, size, size) in [-1, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The video is damaged or ends before the clip does, or the box leaves its frame.
    """
    times = _times(clip)
    # Without the last instants the reader would stop before a frame that begins exactly there.
    reader = VideoReader(path, end=times[-1] + 2 * _TOLERANCE_SECONDS)
    box = _square(reader, clip)
    wanted = _shown_at(times, reader, clip)
    frames: dict[int, Tensor] = {}
    needed = set(wanted)
    first = 0
    for chunk in reader.chunks(_CHUNK):
        chosen = [index for index in range(first, first + len(chunk)) if index in needed]
        if chosen:
            picked = _cropped(chunk[[index - first for index in chosen]], box, clip.size)
            frames.update(zip(chosen, picked, strict=True))
        first += len(chunk)
    return torch.stack([frames[index] for index in wanted])


def is_long_enough(path: Path, clip: ClipSpec) -> bool:
    """Tell whether a video holds all frames of a clip; decodes it up to there.

    Raises:
        ValueError: The video is damaged.
    """
    times = _times(clip)
    reader = VideoReader(path, end=times[-1] + 2 * _TOLERANCE_SECONDS)
    return times[-1] <= _end(reader) - _TOLERANCE_SECONDS


def declared_seconds(path: Path) -> float:
    """Return how long a video says it is; nothing is decoded.

    Raises:
        ValueError: It is no video, or does not say.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if container.duration is None:
            raise ValueError(f"{path}: does not say how long it is; remux it: ffmpeg -i IN -c copy OUT.mp4")
        return container.duration / av.time_base


def whole_video(path: Path, clip: ClipSpec) -> Tensor:
    """Return a method's output for a clip, frame by frame as the file has them.

    Returns:
        (T, 3, size, size) in [-1, 1].

    Raises:
        ValueError: The file is damaged, or is not of the clip's length or size.
    """
    reader = VideoReader(path)
    if (reader.height, reader.width) != (clip.size, clip.size):
        raise ValueError(
            f"{path}: {reader.width}x{reader.height} pixels, the original of clip {clip.key} has "
            f"{clip.size}x{clip.size}; crop and resize the edit as the original was"
        )
    if len(reader) != clip.frames:
        raise ValueError(
            f"{path}: {len(reader)} frames, the original of clip {clip.key} has {clip.frames}; "
            f"the edit must hold the same frames ({clip.frames} at {clip.fps:g} fps)"
        )
    return reader.whole()


def _times(clip: ClipSpec) -> list[float]:
    """Return when each frame of a clip is, in seconds from the video's first."""
    return [clip.start + index / clip.fps for index in range(clip.frames)]


def _end(reader: VideoReader) -> float:
    """Return when the last frame ends, in seconds from the first."""
    first, last = reader.timings[0], reader.timings[-1]
    return float((last.pts + last.duration - first.pts) * reader.time_base)


def _shown_at(times: Sequence[float], reader: VideoReader, clip: ClipSpec) -> list[int]:
    """Return the index of the frame that is shown at each time."""
    timings = reader.timings
    scale, origin = float(reader.time_base), timings[0].pts
    begins = torch.tensor([(timing.pts - origin) * scale for timing in timings], dtype=torch.float64)
    end = _end(reader)
    if times[-1] > end - _TOLERANCE_SECONDS:
        raise ValueError(
            f"{reader.path}: {end:.2f} s long, clip {clip.key} needs a frame at {times[-1]:.2f} s; "
            "it is another version of the video, or was cut"
        )
    asked = torch.tensor(times, dtype=torch.float64) + _TOLERANCE_SECONDS
    indices: list[int] = (torch.searchsorted(begins, asked, right=True) - 1).tolist()
    return indices


def _square(reader: VideoReader, clip: ClipSpec) -> tuple[int, int, int]:
    """Return left, top and side of the square that is used: the middle of the box, or of the frame."""
    whole: Box = (0.0, 0.0, float(reader.width), float(reader.height))
    left, top, right, bottom = (round(value) for value in clip.box or whole)
    if right > reader.width or bottom > reader.height:
        raise ValueError(
            f"{reader.path}: box {clip.box} of clip {clip.key} leaves the "
            f"{reader.width}x{reader.height} frame"
        )
    return largest_square(left, top, right, bottom)


def _cropped(frames: Tensor, box: tuple[int, int, int], size: int) -> Tensor:
    left, top, side = box
    square = resize_square(frames[:, :, top : top + side, left : left + side], size)
    return square.clone() if side == size else square  # a view would keep the whole frame in memory
