"""Parts of a video by time, single frames, and pictures as clips of one frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from rich_videos import Rich, make_rich

from keyface.video import (
    StillReader,
    VideoReader,
    VideoWriter,
    open_video,
    parse_time,
    read_still,
    write_clip,
)


def numbered(path: Path, frames: int, fps: int = 25) -> Path:
    """Frames of one grey each, brighter by 2 of 255 from one to the next."""
    levels = torch.arange(frames).mul(2).add(10).to(torch.uint8)
    write_clip(path, levels[:, None, None, None].expand(-1, 3, 32, 32), fps=fps)
    return path


def levels(reader: VideoReader) -> list[int]:
    return [round(float(frame.mean() + 1) * 127.5) for chunk in reader.chunks(7) for frame in chunk]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("62.5", 62.5), (0.4, Fraction(2, 5)), ("1:02.5", 62.5), ("1:00:00", 3600), (" 7 ", 7), (".5", 0.5)],
)
def test_times(given: str | float, seconds: float) -> None:
    assert parse_time(given, "--start") == seconds


@pytest.mark.parametrize("given", ["", "-1", "1:60", "1:61:00", "nan", "1e3", "a", "1:", ":", ".", "1:2:3:4"])
def test_what_is_no_time(given: str) -> None:
    with pytest.raises(ValueError, match="--start"):
        parse_time(given, "--start")


@pytest.mark.parametrize(("seconds", "frames"), [(0.04, 1), (0.2, 5), (0.4, 10), (0.41, 11)])
def test_the_end_is_exact(tmp_path: Path, seconds: float, frames: int) -> None:
    assert len(VideoReader(numbered(tmp_path / "a.mp4", 20), end=seconds)) == frames


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("start", "first"), [("0", 0), ("0.4", 10), ("0.41", 11), ("4.6", 115)])
def test_a_start_is_exact_also_after_seeking(tmp_path: Path, suffix: str, start: str, first: int) -> None:
    path = numbered(tmp_path / f"a{suffix}", 120)
    reader = VideoReader(path, start=parse_time(start, "--start"), end=parse_time("4.8", "--end"))
    assert levels(reader) == pytest.approx(list(range(10 + 2 * first, 250, 2)), abs=1)
    assert reader.timings[0].pts == 0
    with VideoWriter(tmp_path / "cut.mp4", like=reader) as writer:
        for chunk in reader.chunks(16):
            writer.write(chunk)
    cut = VideoReader(tmp_path / "cut.mp4")
    assert len(cut) == 120 - first
    assert cut.seconds == pytest.approx((120 - first) / 25)


def test_the_last_frame_of_a_part_lasts_to_its_end(tmp_path: Path) -> None:
    """A still moment of .4 s, in the middle of which the part ends."""
    stamps = [0, 40, 80, 400, 800, 840, 1000]
    path = make_rich(tmp_path / "a.mkv", Rich(frames=7, stamps=stamps))
    reader = VideoReader(path, end="0.7")
    assert [float(each.duration * reader.time_base) for each in reader.timings] == [0.04, 0.04, 0.32, 0.3]
    with VideoWriter(tmp_path / "cut.mkv", like=reader) as writer:
        for chunk in reader.chunks(16):
            writer.write(chunk)
    with av.open(str(tmp_path / "cut.mkv")) as container:
        assert container.duration == 700_000
    part = VideoReader(path, start="0.05", end="0.81")
    assert part.seconds == pytest.approx(0.04 + 0.72), "as usual, but not beyond the next frame"
    assert VideoReader(path, start="0.4", end="0.7").seconds == pytest.approx(0.3)


def test_a_range_without_frames_is_said(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 10)
    with pytest.raises(ValueError, match="no frame is shown from 7 s on; the video is shorter"):
        len(VideoReader(path, start=7))
    with pytest.raises(ValueError, match="no frame is shown from 7 s on"):
        next(VideoReader(path, start=7).chunks(4))


def test_single_frames_by_number(tmp_path: Path) -> None:
    reader = VideoReader(numbered(tmp_path / "a.mp4", 30), start=Fraction(1, 5))
    found = reader.frames([0, 3, 19])
    assert found.shape == (3, 3, 32, 32)
    assert [round(float(frame.mean() + 1) * 127.5) for frame in found] == pytest.approx([20, 26, 58], abs=1)
    with pytest.raises(ValueError, match="frame 25 is wanted, and there are 25"):
        reader.frames([25])


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5, :, 0] = 200  # a red bar at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    reader = open_video(tmp_path / "a.png")
    assert isinstance(reader, StillReader)
    assert (len(reader), reader.height, reader.width, reader.has_audio) == (1, 30, 20, False)
    (frame,) = next(reader.chunks(16))
    assert torch.equal(reader.frames([0])[0], frame)
    assert float(frame[0, :, -5:].min()) > 0, "the bar is on the right"
    assert float(frame[0, :, :15].max()) == -1
    with pytest.raises(ValueError, match="is a picture"):
        open_video(tmp_path / "a.png", start=1)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a picture that can be read"):
        open_video(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match="no such picture"):
        open_video(tmp_path / "c.png")


def test_what_a_picture_loses_is_said(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    with pytest.warns(UserWarning, match=r"grey\.png: 16-bit grayscale reduced to 8 bits"):
        found = read_still(tmp_path / "grey.png")
    assert torch.equal(((found + 1) * 127.5).round(), torch.arange(256.0).expand(3, 4, 256))
    Image.new("RGBA", (8, 8), (10, 255, 255, 0)).save(tmp_path / "a.webp", lossless=True, exact=True)
    with pytest.warns(UserWarning, match=r"a\.webp: transparency dropped"):
        found = read_still(tmp_path / "a.webp")
    assert ((found[:, 0, 0] + 1) * 127.5).round().tolist() == [10, 255, 255]
    several = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (0, 90, 180)]
    several[0].save(tmp_path / "b.webp", save_all=True, append_images=several[1:])
    with pytest.warns(UserWarning, match=r"b\.webp: only the first of its pictures is read"):
        assert float(read_still(tmp_path / "b.webp").max()) == -1


@pytest.mark.filterwarnings("ignore:.*EXIF|Tag data|.*exceeds limit")
def test_damaged_and_huge_pictures_are_told_by_their_names(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    head = data.index(b"IHDR") - 4
    spoilt = {
        "length": data[: head + 3] + b"\x05" + data[head + 4 :],
        "cut": data[: len(data) // 2],
        "text": b"no picture" * 10,
    }
    for name, content in spoilt.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.png: not a picture that can be read"):
            read_still(tmp_path / f"{name}.png")
    Image.new("1", (12_000, 9_000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match=r"huge\.png: 12000 x 9000 pixels; at most 100,000,000 are taken"):
        read_still(tmp_path / "huge.png")
