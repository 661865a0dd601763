"""Files with several streams, sizes that change, odd time stamps, wide pixels, hidden transparency."""

import re
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

from keyface.video import VideoReader, VideoWriter
from keyface.video.decoding.stamps import increasing


def plain(level: int, height: int = 48, width: int = 64) -> av.VideoFrame:
    """Grey of one level, darker to the right."""
    image = np.full((height, width, 3), level) - np.linspace(0, 20, width)[None, :, None]
    return av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")


def levels(reader: VideoReader, chunk: int = 5) -> torch.Tensor:
    return (torch.cat(list(reader.chunks(chunk))) + 1) * 127.5


def several(path: Path, small_default: bool) -> Path:
    """Two films: a small dark one first, and a larger bright one."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, height, default in ((32, 16, small_default), (64, 48, not small_default)):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = Disposition.default if default else 0
            streams.append(stream)
        for stream, level in zip(streams, (60, 200), strict=True):
            for _ in range(5):
                container.mux(stream.encode(plain(level, stream.height, stream.width)))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_default_stream_is_read(tmp_path: Path, suffix: str) -> None:
    reader = VideoReader(several(tmp_path / f"a{suffix}", small_default=False))
    assert (reader.height, reader.width) == (48, 64)
    assert float(levels(reader).mean()) == pytest.approx(190, abs=2)
    small = VideoReader(several(tmp_path / f"b{suffix}", small_default=True))
    assert (small.height, small.width) == (16, 32)


def test_cover_art_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        container.mux(cover.encode(plain(250, 32, 32)))
        container.mux(cover.encode(None))
        for _ in range(5):
            container.mux(film.encode(plain(100)))
        container.mux(film.encode(None))
    with av.open(str(path)) as container:
        kinds = [bool(each.disposition & Disposition.attached_pic) for each in container.streams.video]
    assert sorted(kinds) == [False, True]
    reader = VideoReader(path)
    assert (reader.height, reader.width, len(reader)) == (48, 64, 5)
    assert float(levels(reader).mean()) == pytest.approx(90, abs=2)


def test_sound_with_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=48000)
        container.mux(cover.encode(plain(250, 32, 32)))
        container.mux(cover.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), "s16", "stereo")
        samples.sample_rate = 48000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with pytest.raises(ValueError, match=r"a\.mp4: no video stream in it \(audio only\)"):
        VideoReader(path)


def changing(
    path: Path, codec: str, changes: Sequence[tuple[int, tuple[int, int]]], frames: int = 20
) -> Path:
    """From each of some frames on, another size; each frame is 5 levels brighter than the one before."""
    sizes = dict(changes)
    with av.open(str(path), "w") as container:
        stream = encoder = None
        for index in range(20):
            if index in sizes:
                packets = encoder.encode(None) if encoder is not None else []
                height, width = sizes[index]
                encoder = av.CodecContext.create(codec, "w")
                encoder.width, encoder.height = width, height
                encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                encoder.time_base = encoder.framerate = Fraction(1, 25)
                encoder.framerate = Fraction(25)
                if stream is None:
                    stream = container.add_mux_stream(codec, rate=25, width=width, height=height)
            else:
                packets = []
            assert encoder is not None
            frame = plain(60 + 5 * index, height, width).reformat(format=encoder.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in packets + encoder.encode(frame):
                packet.stream = stream
                container.mux(packet)
        for packet in encoder.encode(None):
            packet.stream = stream
            container.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["mjpeg", "libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("chunk", [5, 7])
def test_sizes_that_change_are_scaled_to_the_first(tmp_path: Path, codec: str, chunk: int) -> None:
    """At frame 10, which is also a chunk's border, and back at frame 15."""
    path = changing(tmp_path / "a.mkv", codec, [(0, (48, 64)), (10, (96, 80)), (15, (48, 64))])
    reader = VideoReader(path)
    message = r"a\.mkv: the size changes from 64x48 to 80x96 at 0\.40 s; frames are scaled to the first one's"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = levels(reader, chunk)
        assert len(reader) == 20
        reader.frames([3, 12])
    assert re.search(message, str(said[0].message))
    assert len(said) == 1, "said once, not in each pass"
    assert found.shape == (20, 3, 48, 64)
    expected = torch.stack([torch.from_numpy(plain(60 + 5 * index).to_ndarray()) for index in range(20)])
    assert float((found - expected.permute(0, 3, 1, 2)).abs().mean(dim=(1, 2, 3)).max()) < 3


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([0, 40, 40, 80, 120], [0, 40, 60, 80, 120]),
        ([0, 0, 0, 90, 90], [0, 30, 60, 90, 130]),
        ([0, 40, 20, 80], [0, 40, 60, 80]),
        ([0, 5, 5, 5, 6, 50], [0, 5, 6, 7, 8, 50]),
        ([7], [7]),
    ],
)
def test_time_stamps_are_spread(stamps: list[int], expected: list[int]) -> None:
    assert increasing(stamps, 40) == expected


def test_repeated_time_stamps_are_said_and_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index, stamp in enumerate([0, 40, 40, 80, 120, 160]):
            frame = plain(60 + 20 * index).reformat(format="yuvj420p")
            for packet in stream.encode(frame):
                packet.pts = packet.dts = stamp
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    with av.open(str(path)) as container:
        assert [packet.pts for packet in container.demux(video=0) if packet.size] == [0, 40, 40, 80, 120, 160]
    reader = VideoReader(path)
    with pytest.warns(UserWarning, match=r"time stamps do not increase: 1 of 6 are spread anew") as said:
        timings = reader.timings
    assert len(said) == 1
    assert [timing.pts for timing in timings] == [0, 40, 60, 80, 120, 160]
    with VideoWriter(tmp_path / "out.mp4", like=reader) as writer:
        for chunk in reader.chunks(4):
            writer.write(chunk)
    copy = VideoReader(tmp_path / "out.mp4")
    assert [round(timing.pts * copy.time_base * 1000) for timing in copy.timings] == [0, 40, 60, 80, 120, 160]


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 15)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_shape_of_pixels_is_told_and_kept(tmp_path: Path, aspect: Fraction, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(2):
            container.mux(stream.encode(plain(90)))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert reader.pixel_aspect == aspect
    with VideoWriter(tmp_path / "out.mp4", like=reader) as writer:
        writer.write(next(reader.chunks(2)))
    assert VideoReader(tmp_path / "out.mp4").pixel_aspect == aspect


def test_transparency_beside_the_pictures_is_said(tmp_path: Path) -> None:
    """WebM keeps it in a second VP9 stream within the packets."""
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for _ in range(3):
            container.mux(stream.encode(plain(90).reformat(format="yuva420p")))
        container.mux(stream.encode(None))
    with pytest.warns(UserWarning, match=r"a\.webm: transparency dropped"):
        assert len(VideoReader(path)) == 3


def test_ordinary_files_say_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = VideoReader(several(tmp_path / "a.mkv", small_default=False))
        assert len(reader) == len(levels(reader)) == 5
