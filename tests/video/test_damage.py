"""Damaged and cut-off files: noticed, and what is shown in the place of damaged frames."""

import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from rich_videos import picture

from keyface.video import VideoReader

HEIGHT, WIDTH, GROUP = 96, 128, 10


def make(
    path: Path,
    codec: str,
    frames: int = 40,
    *,
    sound: bool = False,
    live: bool = False,
    pixels: str = "yuv420p",
    open_groups: bool = False,
) -> Path:
    """A key frame in every 10 frames; sound lies between the pictures as it is recorded."""
    between = "3" if open_groups else "0"
    options = {"bf": between} if codec in ("libx264", "mpeg4") else {}
    if codec == "libx264" and open_groups:
        options["x264-params"] = "open-gop=1:scenecut=0:b-adapt=0"
    if codec == "libx265":
        groups = f"keyint={GROUP}:min-keyint={GROUP}:open-gop={int(open_groups)}:scenecut=0:b-adapt=0"
        options = {"x265-params": f"log-level=none:{groups}:bframes={between}"}
    writing = {"cluster_time_limit": "800"} if path.suffix == ".mkv" else {}
    with av.open(str(path), "w", container_options=writing | ({"live": "1"} if live else {})) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.gop_size = GROUP
        track = container.add_stream("aac", rate=48000) if sound else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, HEIGHT, WIDTH), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            if track is not None:
                tone = (8000 * np.sin(np.arange(1920) / 20)).astype(np.int16)
                samples = av.AudioFrame.from_ndarray(tone.repeat(2)[None], "s16", "stereo")
                samples.sample_rate, samples.pts, samples.time_base = 48000, 1920 * index, Fraction(1, 48000)
                container.mux(track.encode(samples))
        container.mux(stream.encode(None))
        if track is not None:
            container.mux(track.encode(None))
    return path


def spoil(source: Path, target: Path, number: int, *, whole: bool = False) -> Path:
    """Overwrite the second half of one packet of pictures, or all but its length."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[number]
    begin = 8 if whole else size // 2
    data[position + begin : position + size] = bytes(size - begin)
    target.write_bytes(data)
    return target


def levels(reader: VideoReader) -> torch.Tensor:
    return (torch.cat(list(reader.chunks(6))) + 1) * 127.5


INTER = [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mp4", "libx265"), ("a.avi", "mpeg4")]


@pytest.mark.parametrize(("name", "codec"), INTER)
def test_damage_is_told_with_its_time(tmp_path: Path, name: str, codec: str) -> None:
    damaged = spoil(make(tmp_path / name, codec), tmp_path / f"b{name}", 14, whole=codec == "libx265")
    with pytest.raises(ValueError, match=rf"b{name}: damaged at 0\.5[26] s; --on-corrupt hold repeats"):
        len(VideoReader(damaged))


@pytest.mark.parametrize(("name", "codec"), INTER)
def test_what_is_predicted_from_damage_is_held_too(tmp_path: Path, name: str, codec: str) -> None:
    source = make(tmp_path / name, codec)
    expected = levels(VideoReader(source))
    reader = VideoReader(
        spoil(source, tmp_path / f"b{name}", 14, whole=codec == "libx265"), on_corrupt="hold"
    )
    found = levels(reader)
    assert len(found) == len(reader) == 40
    assert reader.held == 6, "frames 14 to 19; frame 20 is a key frame"
    shown = [13 if 14 <= index < 20 else index for index in range(40)]
    assert torch.equal(found, expected[shown])
    assert [timing.pts * reader.time_base for timing in reader.timings] == [
        Fraction(i, 25) for i in range(40)
    ]
    assert torch.equal((reader.frames([12, 16, 20]) + 1) * 127.5, expected[[12, 13, 20]])


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("a.avi", "mjpeg", "yuvj420p"), ("a.mov", "prores_ks", "yuv422p10le")]
)
@pytest.mark.filterwarnings("ignore:.*10-bit")
def test_only_the_damaged_one_is_held_where_each_is_a_key_frame(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    source = make(tmp_path / name, codec, 12, pixels=pixels)
    expected = levels(VideoReader(source))
    reader = VideoReader(spoil(source, tmp_path / f"b{name}", 5, whole=True), on_corrupt="hold")
    assert torch.equal(levels(reader), expected[[0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 10, 11]])
    assert (reader.held, len(reader)) == (1, 12)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mp4", "libx265")])
def test_a_damaged_beginning_shows_the_first_good_frame(tmp_path: Path, name: str, codec: str) -> None:
    source = make(tmp_path / name, codec)
    expected = levels(VideoReader(source))
    reader = VideoReader(spoil(source, tmp_path / f"b{name}", 0, whole=codec == "libx265"), on_corrupt="hold")
    found = levels(reader)
    assert torch.equal(found, expected[[10] * 10 + list(range(10, 40))])
    assert (reader.held, len(reader)) == (10, 40)
    assert torch.equal(reader.looks[0], found[0] / 127.5 - 1)


def test_a_file_damaged_throughout_is_an_error(tmp_path: Path) -> None:
    damaged = spoil(make(tmp_path / "a.avi", "mpeg4", 8), tmp_path / "b.avi", 0)
    with pytest.raises(ValueError, match=r"b\.avi: no frame can be decoded"):
        VideoReader(damaged, on_corrupt="hold")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_start_within_open_groups_is_no_damage(tmp_path: Path, codec: str, suffix: str) -> None:
    """A seek lands on a key frame, before which frames are shown that need the group before."""
    path = make(tmp_path / f"a{suffix}", codec, 120, open_groups=True)
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    key = [index for index, (_, is_key) in enumerate(packets) if is_key][3]
    assert packets[key + 1][0] < packets[key][0], "a frame after the key frame is shown before it"
    every = levels(VideoReader(path))
    part = VideoReader(path, start=Fraction(82, 25), end=Fraction(95, 25))
    assert torch.equal(levels(part), every[82:95])


def test_an_index_that_leads_too_late_is_noticed(tmp_path: Path) -> None:
    """All entries of a Matroska index are made to point to the last cluster."""
    path = make(tmp_path / "a.mkv", "libx264", 120)
    every = levels(VideoReader(path))
    data = bytearray(path.read_bytes())
    cues = data.rindex(bytes.fromhex("1c53bb6b"))
    entries = [at for at in range(cues, len(data) - 4) if data[at : at + 2] == b"\xf1\x82"]  # of two bytes
    assert len(entries) > 3
    last = data[entries[-1] + 2 : entries[-1] + 4]
    for at in entries:
        data[at + 2 : at + 4] = last
    wrong = tmp_path / "wrong.mkv"
    wrong.write_bytes(data)
    start = Fraction(82, 25)
    with av.open(str(wrong)) as container:
        container.seek(2280, stream=container.streams.video[0])
        assert next(container.decode(video=0)).pts > 3280, "the seek leads behind the start"
    assert torch.equal(levels(VideoReader(wrong, start=start, end=Fraction(90, 25))), every[82:90])


@pytest.mark.parametrize("sound", [False, True])
def test_a_whole_recording_without_a_length_says_nothing(tmp_path: Path, sound: bool) -> None:
    path = make(tmp_path / "a.mkv", "libx264", sound=sound, live=True)
    with av.open(str(path)) as container:
        assert container.duration is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(VideoReader(path)) == 40


@pytest.mark.parametrize("sound", [False, True])
def test_a_recording_without_a_length_that_was_cut_is_said(tmp_path: Path, sound: bool) -> None:
    path = make(tmp_path / "a.mkv", "libx264", 60, sound=sound, live=True)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    reader = VideoReader(cut)
    with pytest.warns(UserWarning, match=r"cut\.mkv: declares no length and looks cut off: .*within a block"):
        assert 20 < len(reader) < 50


def test_a_recording_whose_sound_goes_on_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", container_options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = container.add_stream("pcm_s16le", rate=48000)
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(picture(index, HEIGHT, WIDTH), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 48000), np.int16), "s16", "stereo")
        samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(track.encode(samples))
    reader = VideoReader(path)
    with pytest.warns(UserWarning, match=r"the pictures end at 0\.40 s and the sound at 1\.00 s"):
        assert len(reader) == 10


def frame_chunk(avi: bytes, number: int) -> int:
    """Return where the chunk of a frame begins: eight bytes of header, then the frame."""
    return [found.start() for found in re.finditer(b"00dc", avi)][number]


CUTS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a.mp4", lambda data: data[: data.index(b"moov") - 4], "its index \\(moov\\) is missing"),
    ("a.mkv", lambda data: data[: len(data) // 2], "cut off: it declares 1\\.60 s but only 0\\."),
    ("a.avi", lambda data: data[: frame_chunk(data, 13) + 30], r"damaged at 0\.48 s"),
    (
        "a.avi",
        lambda data: data[: frame_chunk(data, 13) + 8],
        r"cut off: it declares 1\.12 s but only 0\.48 s",
    ),
]


@pytest.mark.parametrize(("name", "cut", "message"), CUTS)
def test_cut_files_are_errors(tmp_path: Path, name: str, cut: Callable[[bytes], bytes], message: str) -> None:
    whole = make(tmp_path / name, "mpeg4" if name == "a.avi" else "libx264")
    path = tmp_path / f"b{name}"
    path.write_bytes(cut(whole.read_bytes()))
    with pytest.raises(ValueError, match=message) as found:
        len(VideoReader(path))
    if "--end" not in str(found.value):
        return
    # What the message advises works, and takes all but the last frames.
    end = Fraction(str(found.value).rpartition("--end ")[2])
    part = VideoReader(path, end=end)
    assert abs(len(part) - end * 25) <= 1
    assert torch.equal(levels(part), levels(VideoReader(whole, end=end)))


def test_a_cut_avi_is_taken_by_following_the_advice_twice(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.avi", "mpeg4")
    data = whole.read_bytes()
    path = tmp_path / "b.avi"
    path.write_bytes(data[: frame_chunk(data, 13) + 30])
    with pytest.raises(ValueError, match="--on-corrupt hold"):
        len(VideoReader(path))
    with pytest.raises(ValueError, match=r"cut off.*--end ") as found:
        len(VideoReader(path, on_corrupt="hold"))
    end = Fraction(str(found.value).rpartition("--end ")[2])
    assert len(VideoReader(path, on_corrupt="hold", end=end)) >= 12
