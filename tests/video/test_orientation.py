"""Turned and mirrored videos are read as FFmpeg shows them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from keyface.video import VideoReader, VideoWriter
from keyface.video.decoding.orientation import Orientation

ONE = 1 << 16


def matrix(a: float, b: float, c: float, d: float) -> list[int]:
    return [round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30]


def picture() -> np.ndarray:
    """Red grows to the right, green downwards."""
    rows, columns = np.mgrid[0:48, 0:64]
    return np.stack([columns * 3 + 20, rows * 4 + 20, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def make(path: Path, display: list[int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.set_display_matrix(display)
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    return path


SHOWN = [
    ((1, 0, 0, 1), lambda image: image),
    ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    ((0, -1, 1, 0), lambda image: np.rot90(image)),
    ((-1, 0, 0, 1), np.fliplr),
    ((1, 0, 0, -1), np.flipud),
    ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
]
"""Display matrices and what they show: point (x, y) goes to (a x + c y, b x + d y)."""


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(("entries", "shown"), SHOWN)
def test_display_matrices(
    tmp_path: Path, suffix: str, entries: tuple[int, ...], shown: Callable[[np.ndarray], np.ndarray]
) -> None:
    reader = VideoReader(make(tmp_path / f"in{suffix}", matrix(*entries)))
    expected = torch.from_numpy(np.ascontiguousarray(shown(picture()))).permute(2, 0, 1)
    assert (reader.height, reader.width) == expected.shape[1:]
    (frame,) = (torch.cat(list(reader.chunks(2)))[:1] + 1) * 127.5
    assert float((frame - expected).abs().mean()) < 2
    with VideoWriter(tmp_path / "out.mp4", like=reader) as writer:
        for chunk in reader.chunks(2):
            writer.write(chunk)
    copy = VideoReader(tmp_path / "out.mp4")
    assert copy.orientation == Orientation()
    assert float(((next(copy.chunks(1))[0] + 1) * 127.5 - expected).abs().mean()) < 4


def test_corners_are_moved_as_the_matrix_says() -> None:
    image = np.arange(6).reshape(2, 3, 1)
    for entries, _ in SHOWN:
        a, b, c, d = entries
        orientation = Orientation.from_matrix(matrix(*entries))
        assert orientation is not None
        shown = orientation.apply(image)
        height, width = shown.shape[:2]
        for y, x in np.ndindex(2, 3):
            # An axis that is turned over counts back from the last pixel.
            column = (a * x + c * y) + (0 if a + c > 0 else width - 1)
            row = (b * x + d * y) + (0 if b + d > 0 else height - 1)
            assert shown[row, column] == image[y, x]


def test_other_turns_are_ignored_with_a_word(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", matrix(0.866, 0.5, -0.5, 0.866))
    with pytest.warns(UserWarning, match=r"a\.mp4: its display matrix is ignored, only quarter turns"):
        reader = VideoReader(path)
    assert (reader.height, reader.width) == (48, 64)
    assert reader.orientation == Orientation()


def test_a_turned_video_with_wide_pixels_has_high_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_matrix(matrix(0, 1, -1, 0))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert (reader.height, reader.width) == (64, 48)
    assert float(reader.pixel_aspect) == 0.75
