"""Codecs, quality, bits, kinds of files: what is written is what was chosen; bad choices are told early."""

import itertools
import warnings
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from rich_videos import Rich, Sound, clip, first_frame, make_rich, psnr

from keyface.configuration import given
from keyface.video import Encoding, StillReader, VideoReader, VideoWriter, open_writer, write_clip
from keyface.video.encoders import encoders_here
from keyface.video.formats import FORMATS

DECODED = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "av1": "av1", "prores": "prores"}


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (suffix, codec)
        for suffix, takes in FORMATS.items()
        for codec in takes.video
        if codec in encoders_here()
    ],
)
def test_every_codec_of_every_kind_of_file(tmp_path: Path, suffix: str, codec: str) -> None:
    """The pictures come back, at the same times, and the same frames give the same bytes."""
    frames = clip()
    files = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for file in files:
        write_clip(file, frames, Fraction(24000, 1001), encoding=Encoding(codec=codec))  # type: ignore[arg-type]
    assert files[0].read_bytes() == files[1].read_bytes()
    name, frame = first_frame(files[0])
    assert name == DECODED[codec]
    assert (frame.height, frame.width) == (96, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ProRes has 10 bits, which the reader says
        reader = VideoReader(files[0])
    assert len(reader) == 8
    assert psnr((torch.cat(list(reader.chunks(8))) + 1) * 127.5, frames) > 32
    last = reader.timings[-1].pts * reader.time_base
    assert abs(last - Fraction(7 * 1001, 24000)) < Fraction(1, 999)


def test_without_a_choice_it_is_x264_as_ever(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip(), 25)
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"crf=16.0" in content  # x264 writes its settings into the file
    assert b"mbtree=0" in content
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.profile == "High"
        assert (stream.color_primaries, stream.color_trc, stream.colorspace, stream.color_range) == (
            2,
            2,
            2,
            0,
        )
    assert first_frame(tmp_path / "a.mp4")[1].format.name == "yuv420p"
    write_clip(tmp_path / "a.webm", clip(), 25)
    assert first_frame(tmp_path / "a.webm")[0] == "vp9"


def test_quality_and_preset_reach_the_encoder(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip(), 25, encoding=Encoding(quality=30, preset="veryfast"))
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"crf=30.0" in content
    assert b"subme=2 " in content  # of veryfast; medium has 7
    sizes = {}
    for codec, quality in itertools.product(("h265", "vp9", "av1"), (5, 45)):
        path = tmp_path / f"{codec}-{quality}.mkv"
        write_clip(path, clip(), 25, encoding=Encoding(codec=codec, quality=quality))  # type: ignore[arg-type]
        sizes[codec, quality] = path.stat().st_size
    for codec in ("h265", "vp9", "av1"):
        assert sizes[codec, 5] > 2 * sizes[codec, 45]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"codec": "h266"}, "no such codec; choose one of h264"),
        ({"quality": 64}, "from 0 to 63"),
        ({"quality": -1}, "from 0 to 63"),
        ({"codec": "h264", "quality": 52}, "for h264 it must be from 0 to 51"),
        ({"codec": "h265", "quality": 52}, "for h265 it must be from 0 to 51"),
        ({"codec": "vp9", "quality": 64}, "for vp9 it must be from 0 to 63"),
        ({"codec": "prores", "quality": 10}, "has none; choose a preset: proxy"),
        ({"codec": "h264", "preset": "quick"}, "for h264 choose one of ultrafast"),
        ({"codec": "av1", "preset": "medium"}, "for av1 choose one of 13"),
        ({"like_source": True, "codec": "h264"}, "exclude each other"),
        ({"like_source": True, "quality": 20}, "exclude each other"),
    ],
)
def test_bad_choices_are_told_when_they_are_made(choice: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoding(**choice)  # type: ignore[arg-type]


def test_bits_that_this_build_cannot_write_are_told() -> None:
    unable = [name for name, each in encoders_here().items() if 10 not in each.bits_here]
    for codec in unable:
        with pytest.raises(ValueError, match="in 8 bits only; 10 bits go with h264"):
            Encoding(codec=codec, ten_bit=True)


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("a.webm", {"codec": "h264"}, "does not take h264; choose vp9 or av1, or write to .mp4"),
        ("a.mov", {"codec": "vp9"}, "does not take vp9; choose h264"),
        ("a.mp4", {"codec": "prores"}, "does not take prores; .*or write to .mov or .mkv"),
        ("a.mp4", {"quality": 60}, "for h264 it must be from 0 to 51"),
        ("a.mp4", {"preset": "8"}, "for h264 choose one of"),
        ("a.mp4", {"like_source": True}, "needs a source"),
        ("a.gif", {}, r"write to one of \.mp4, \.m4v, \.mov, \.mkv, \.webm, not '\.gif'"),
        ("a.png", {}, "a picture takes one frame"),
    ],
)
def test_choices_that_a_file_does_not_take_are_told_when_the_writer_is_made(
    tmp_path: Path, name: str, choice: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VideoWriter(tmp_path / name, fps=25, encoding=Encoding(**choice))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked_as_those_of_settings_are() -> None:
    assert given(Encoding, {"codec": "av1", "preset": "8"}, "encoding") == {"codec": "av1", "preset": "8"}
    with pytest.raises(ValueError, match="encoding"):
        given(Encoding, {"codec": "av2"}, "encoding")


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix", "expected"),
    [
        ("libx265", "yuv420p10le", ".mp4", ("hevc", "yuv420p10le")),
        ("libx264", "yuv420p", ".mov", ("h264", "yuv420p")),
        ("libvpx-vp9", "yuv420p", ".webm", ("vp9", "yuv420p")),
        ("libsvtav1", "yuv420p10le", ".mkv", ("av1", "yuv420p10le")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*10-bit colour")
def test_like_the_source(
    tmp_path: Path, codec: str, pixels: str, suffix: str, expected: tuple[str, str]
) -> None:
    rich = Rich(frames=150, size=(192, 256), codec=codec, pixels=pixels, bit_rate=300_000)
    source = make_rich(tmp_path / "in.mkv", rich)
    reader, target = VideoReader(source), tmp_path / f"out{suffix}"
    with VideoWriter(target, like=reader, encoding=Encoding(like_source=True)) as writer:
        for chunk in reader.chunks(16):
            writer.write(chunk)
    name, frame = first_frame(target)
    assert (name, frame.format.name) == expected
    assert 0.5 < target.stat().st_size / source.stat().st_size < 2


def test_like_a_picture_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"like_source: photo\.png is a picture, so there is no codec"):
        open_writer(
            tmp_path / "a.mp4", like=StillReader(tmp_path / "photo.png"), encoding=Encoding(like_source=True)
        )


def test_like_a_source_whose_codec_is_not_written(tmp_path: Path) -> None:
    reader = VideoReader(make_rich(tmp_path / "in.avi", Rich(frames=5, codec="mpeg4")))
    with pytest.raises(ValueError, match=r"mpeg4, the codec of in\.avi, is not written"):
        VideoWriter(tmp_path / "out.mp4", like=reader, encoding=Encoding(like_source=True))


def test_webm_with_sound(tmp_path: Path) -> None:
    reader = VideoReader(make_rich(tmp_path / "a.mp4", Rich(sounds=[Sound(layout="5.1")])))
    with VideoWriter(tmp_path / "b.webm", like=reader) as writer:
        for chunk in reader.chunks(16):
            writer.write(chunk)
    with av.open(str(tmp_path / "b.webm")) as container:
        assert container.format.name == "matroska,webm"
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.layout.name) == ("opus", "5.1")


def test_the_options_of_the_command_line() -> None:
    parser = ArgumentParser()
    parser.add_argument("--encoding", type=Encoding, default=Encoding())
    words = [
        "--encoding.codec",
        "av1",
        "--encoding.preset",
        "8",
        "--encoding.quality",
        "30",
        "--encoding.ten_bit",
        "true",
    ]
    chosen = parser.instantiate(parser.parse_args(words)).encoding
    assert chosen == Encoding(codec="av1", preset="8", quality=30, ten_bit=True)
    assert parser.instantiate(parser.parse_args([])).encoding == Encoding()
