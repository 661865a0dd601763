"""A few crops of many faces, with one frame in memory at a time."""

import weakref
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keyface.faces.crops import cut
from keyface.footage.crops import crops_at
from keyface.video import VideoReader, write_clip
from keyface.video.reader import CHUNK_BYTES


class Watched(VideoReader):
    """Counts how many of the frames that it gave are still held by somebody."""

    most = 0

    def chosen(self, numbers: Collection[int]) -> Iterator[tuple[int, Tensor]]:
        given: list[weakref.ref[Tensor]] = []
        for number, image in super().chosen(numbers):
            copy = image.clone()
            given.append(weakref.ref(copy))
            del image
            yield number, copy
            del copy
            self.most = max(self.most, sum(each() is not None for each in given))


def test_many_faces_take_the_memory_of_one_frame(tmp_path: Path) -> None:
    ramps = torch.linspace(-1, 1, 40)[:, None, None, None].expand(40, 3, 48, 64)
    write_clip(tmp_path / "a.mp4", ramps, 25)
    reader = Watched(tmp_path / "a.mp4")
    squares = torch.tensor([[30.0, 24.0, 20.0, 0.1], [40.0, 20.0, 16.0, 0.0]])
    places = [[(number, squares[face]) for number in range(face, 40, 5)] for face in range(2)]
    crops = crops_at(reader, places, 16)
    assert reader.most <= 1
    for face in range(2):
        frames = reader.frames([number for number, _ in places[face]])
        expected = cut(frames, squares[face][None].expand(8, -1), 16)
        torch.testing.assert_close(crops[face], expected)


@pytest.mark.parametrize(
    ("height", "width", "frames"), [(180, 320, 16), (1080, 1920, 4), (2160, 3840, 1), (4320, 7680, 1)]
)
def test_frames_that_are_worked_on_at_once(tmp_path: Path, height: int, width: int, frames: int) -> None:
    write_clip(tmp_path / "a.mp4", torch.zeros(1, 3, 32, 32), 25)
    reader = VideoReader(tmp_path / "a.mp4")
    reader.height, reader.width = height, width
    assert reader.at_once() == frames
    assert frames * height * width * 12 <= max(CHUNK_BYTES, height * width * 12)
