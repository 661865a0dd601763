"""The pictures of a written file: sizes, shape of pixels, colours, bits, times, in every codec."""

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from rich_videos import Rich, clip, first_frame, make_rich, psnr

from keyface.video import Encoding, VideoReader, VideoWriter, write_clip
from keyface.video.encoders import encoders_here


@pytest.mark.parametrize("codec", [name for name, each in encoders_here().items() if 10 in each.bits_here])
def test_ten_bits_hold_more_levels(tmp_path: Path, codec: str) -> None:
    """A ramp over an eighth of the range has 28 levels of 8 bits, and 110 of 10."""
    ramp = torch.linspace(0, 0.25, 640).expand(2, 3, 96, 640)
    suffix = ".mov" if codec == "prores" else ".mp4"
    write_clip(
        tmp_path / f"a{suffix}",
        ramp,
        25,
        encoding=Encoding(codec=codec, ten_bit=True, quality=None if codec == "prores" else 4),  # type: ignore[arg-type]
    )
    frame = first_frame(tmp_path / f"a{suffix}")[1]
    assert frame.format.components[0].bits == 10
    levels = np.unique(np.frombuffer(bytes(frame.planes[0]), np.uint16).reshape(96, -1)[48, :640])
    assert len(levels) > 60


@pytest.mark.parametrize("codec", list(encoders_here()))
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:.*10-bit colour")
def test_few_frames(tmp_path: Path, codec: str, frames: int) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.mkv"
        write_clip(path, clip(frames), 25, encoding=Encoding(codec=codec))  # type: ignore[arg-type]
        reader = VideoReader(path)
        assert [timing.pts * reader.time_base for timing in reader.timings] == [
            Fraction(index, 25) for index in range(frames)
        ]


@pytest.mark.parametrize("frames", [1, 2])
def test_one_or_two_frames_are_decoded_when_they_are_shown(tmp_path: Path, frames: int) -> None:
    """x265 leaves these times to chance; several files make it likely to show."""
    for number in range(4):
        path = tmp_path / f"{number}.mov"
        write_clip(path, clip(frames, 48, 64), 25, encoding=Encoding(codec="h265"))
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.dts * packet.time_base for packet in packets] == [
            Fraction(index, 25) for index in range(frames)
        ]


@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_odd_sizes_play_everywhere(tmp_path: Path, name: str, codec: str) -> None:
    write_clip(tmp_path / name, clip(2, 487, 501), 25, encoding=Encoding(codec=codec))  # type: ignore[arg-type]
    frame = first_frame(tmp_path / name)[1]
    assert (frame.width, frame.height, frame.format.name) == (501, 487, "yuv420p")


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_odd_sizes_that_few_players_take_are_said(tmp_path: Path, codec: str) -> None:
    with pytest.warns(UserWarning, match="501x487 is odd, .* 4:4:4, .*; --encoding.codec vp9 plays"):
        write_clip(tmp_path / "a.mp4", clip(2, 487, 501), 25, encoding=Encoding(codec=codec))  # type: ignore[arg-type]
    frame = first_frame(tmp_path / "a.mp4")[1]
    assert (frame.width, frame.height) == (501, 487)


def test_h265_is_called_as_apple_does(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov"):
        write_clip(tmp_path / name, clip(2), 25, encoding=Encoding(codec="h265"))
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 15), Fraction(8, 9)])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "h264"),
        ("a.mkv", "h265"),
        ("a.mp4", "vp9"),
        ("a.mov", "prores"),
        ("a.webm", "vp9"),
        ("a.mkv", "av1"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*10-bit colour")
def test_the_shape_of_pixels(tmp_path: Path, aspect: Fraction, name: str, codec: str) -> None:
    """What is shown is as wide as before: by the same shape of pixels, or by more or fewer of them."""
    reader = VideoReader(make_rich(tmp_path / "in.mp4", Rich(frames=3, size=(144, 180), aspect=aspect)))
    encoding = Encoding(codec=codec)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        writer = VideoWriter(tmp_path / name, like=reader, encoding=encoding)
    with writer:
        writer.write(next(reader.chunks(3)))
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        found = stream.sample_aspect_ratio or Fraction(1)
        shown = stream.width * found / stream.height
    assert float(shown) == pytest.approx(float(180 * aspect / 144), rel=0.003)
    if (name, codec) in (("a.webm", "vp9"), ("a.mkv", "av1")):
        assert found == 1
        assert [str(each.message) for each in caught if "square" in str(each.message)]
    else:
        assert (found, stream.width, stream.height) == (aspect, 180, 144)
        assert not caught


SDR, HLG, FULL, PAL = (1, 1, 1, 1), (9, 18, 9, 1), (1, 1, 1, 2), (5, 4, 5, 1)
"""FFmpeg's numbers of primaries, transfer, matrix and range."""


@pytest.mark.parametrize("colours", [SDR, HLG, FULL, PAL])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "h264"),
        ("a.mkv", "h264"),
        ("a.mov", "h265"),
        ("a.webm", "vp9"),
        ("a.mp4", "av1"),
        ("a.mov", "prores"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(10-bit colour|high dynamic range)")
def test_colours_are_told_as_in_the_source(
    tmp_path: Path, colours: tuple[int, int, int, int], name: str, codec: str
) -> None:
    pixels = "yuv420p10le" if colours == HLG else "yuv420p"
    reader = VideoReader(make_rich(tmp_path / "in.mp4", Rich(frames=3, colours=colours, pixels=pixels)))
    encoding = Encoding(codec=codec, ten_bit=colours == HLG and codec != "vp9")  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        writer = VideoWriter(tmp_path / name, like=reader, encoding=encoding)
    with writer:
        writer.write(next(reader.chunks(3)))
    said = [str(each.message) for each in caught]
    frame = first_frame(tmp_path / name)[1]
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == colours[:3]
    if codec == "prores" and colours == FULL:
        assert frame.color_range == 1
        assert any("prores cannot say that its range is full" in each for each in said)
    else:
        assert (frame.color_range == 2) == (colours[3] == 2)
        assert any("bands; --encoding.ten_bit" in each for each in said) == (
            colours == HLG and codec == "vp9"
        )
    after = VideoReader(tmp_path / name)
    assert psnr((next(after.chunks(3)) + 1) * 127.5, (next(reader.chunks(3)) + 1) * 127.5) > 33


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "h265"),
        ("a.webm", "vp9"),
        ("a.mp4", "vp9"),
        ("a.mkv", "av1"),
        ("a.mp4", "av1"),
        ("a.mov", "prores"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*10-bit colour")
def test_variable_frame_rates(tmp_path: Path, name: str, codec: str) -> None:
    stamps = [0, 33, 66, 180, 200, 300, 301, 400, 520, 900, 933, 966]
    reader = VideoReader(make_rich(tmp_path / "in.mkv", Rich(frames=12, stamps=stamps)))
    with VideoWriter(tmp_path / name, like=reader, encoding=Encoding(codec=codec)) as writer:  # type: ignore[arg-type]
        writer.write(next(reader.chunks(12)))
    after = VideoReader(tmp_path / name)
    assert [timing.pts * after.time_base * 1000 for timing in after.timings] == stamps
