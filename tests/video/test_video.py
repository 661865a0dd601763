"""Real files of many kinds, made with PyAV, go through the reader and the writer."""

import os
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from keyface.video import VideoReader, VideoWriter, write_clip
from keyface.video.decoding.orientation import Orientation

NTSC = Fraction(30000, 1001)


def picture(index: int, height: int, width: int) -> np.ndarray:
    """A smooth image that moves; its corner quadrants differ, so that a rotation shows."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    red = 255 * columns
    green = 255 * rows
    blue = np.full_like(red, 20 + 5 * index)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def make(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 12,
    rate: Fraction = NTSC,
    size: tuple[int, int] = (48, 64),
    pixels: str = "yuv420p",
    audio: str | None = None,
    stamps: list[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int | None = None,
) -> Path:
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if time_base is not None:
            stream.codec_context.time_base = stream.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound = container.add_stream(audio, rate=48000) if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            frame = frame.reformat(format=pixels)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[index], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            tone = (8000 * np.sin(np.arange(int(48000 * frames / rate)) / 20)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(
                np.stack([tone, tone], axis=1).reshape(1, -1), "s16", "stereo"
            )
            samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path


def copy(source: Path, target: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads a file, writes it like its source and returns both files' frames."""
    reader = VideoReader(source)
    with VideoWriter(target, like=reader) as writer:
        for chunk in reader.chunks(5):
            writer.write(chunk)
    return torch.cat(list(reader.chunks(5))), torch.cat(list(VideoReader(target).chunks(64)))


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(-10 * torch.log10((first - second).div(2).square().mean()))


def seconds(reader: VideoReader) -> list[Fraction]:
    return [timing.pts * reader.time_base for timing in reader.timings]


def audio_bytes(path: Path) -> tuple[str, list[bytes], list[Fraction]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        return (
            stream.codec_context.codec.canonical_name,
            [bytes(packet) for packet in packets],
            [packet.pts * packet.time_base for packet in packets],
        )


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "audio"),
    [
        ("a.mp4", "libx264", "yuv420p", "aac"),
        ("b.avi", "mpeg4", "yuv420p", "libmp3lame"),
        ("c.mkv", "mjpeg", "yuvj420p", "pcm_s16le"),
        ("d.webm", "libvpx-vp9", "yuv420p", "libopus"),
        ("e.mov", "libx264", "yuv420p", "pcm_s16le"),
    ],
)
def test_frames_stamps_and_audio_survive(
    tmp_path: Path, name: str, codec: str, pixels: str, audio: str
) -> None:
    source = make(tmp_path / name, codec, pixels=pixels, audio=audio)
    target = tmp_path / "out.mp4"
    before, after = copy(source, target)
    assert before.shape == (12, 3, 48, 64)
    assert after.shape == before.shape
    assert psnr(before, after) > 33
    expected = torch.from_numpy(picture(3, 48, 64)).permute(2, 0, 1) / 127.5 - 1
    assert psnr(before[3], expected) > 26
    assert seconds(VideoReader(target)) == seconds(VideoReader(source))
    source_audio, target_audio = audio_bytes(source), audio_bytes(target)
    if audio == "pcm_s16le":
        assert target_audio[0] == "aac"
    else:
        assert target_audio[:2] == source_audio[:2]
        assert all(
            abs(a - b) < Fraction(1, 1000) for a, b in zip(source_audio[2], target_audio[2], strict=True)
        )


def test_rates_and_lengths_are_exact(tmp_path: Path) -> None:
    reader = VideoReader(make(tmp_path / "a.mp4", frames=30))
    assert reader.fps == NTSC
    assert len(reader) == 30
    assert reader.seconds == pytest.approx(30 * 1001 / 30000, abs=1e-9)
    fast = VideoReader(make(tmp_path / "b.mp4", frames=20, rate=Fraction(120)))
    assert (fast.fps, len(fast)) == (120, 20)


def test_chunks_can_be_read_again_and_cover_every_frame(tmp_path: Path) -> None:
    reader = VideoReader(make(tmp_path / "a.mp4", frames=7))
    assert [len(chunk) for chunk in reader.chunks(3)] == [3, 3, 1]
    assert torch.equal(next(reader.chunks(3)), next(reader.chunks(3)))
    low, high = next(reader.chunks(7)).aminmax()
    assert -1 <= low < high <= 1


def test_one_frame(tmp_path: Path) -> None:
    before, after = copy(make(tmp_path / "a.mp4", frames=1), tmp_path / "out.mp4")
    assert before.shape == after.shape == (1, 3, 48, 64)
    assert VideoReader(tmp_path / "out.mp4").seconds == pytest.approx(1001 / 30000)


def test_variable_frame_rate_keeps_every_stamp(tmp_path: Path) -> None:
    stamps = [0, 33, 66, 180, 200, 300, 301, 400, 520, 900, 933, 966]
    source = make(
        tmp_path / "a.mp4", stamps=stamps, time_base=Fraction(1, 1000), rate=Fraction(30), audio="aac"
    )
    copy(source, tmp_path / "out.mp4")
    assert seconds(VideoReader(tmp_path / "out.mp4")) == [Fraction(stamp, 1000) for stamp in stamps]


@pytest.mark.filterwarnings("ignore:.* is odd, which h264 keeps")
@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    source = make(tmp_path / "a.mp4", size=size, pixels="yuv444p")
    before, after = copy(source, tmp_path / "out.mp4")
    assert before.shape[2:] == after.shape[2:] == size
    assert psnr(before, after) > 33


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_once(tmp_path: Path, rotation: int) -> None:
    source = make(tmp_path / "a.mp4", rotation=rotation)
    reader = VideoReader(source)
    assert (reader.height, reader.width) == ((48, 64) if rotation == 180 else (64, 48))
    before, after = copy(source, tmp_path / "out.mp4")
    upright = np.rot90(picture(0, 48, 64), rotation // 90).copy()
    assert psnr(before[0], torch.from_numpy(upright).permute(2, 0, 1) / 127.5 - 1) > 26
    assert before.shape == after.shape
    assert psnr(before, after) > 33
    assert VideoReader(tmp_path / "out.mp4").orientation == Orientation()


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "loss"),
    [
        ("a.mkv", "libx264", "yuv420p10le", "10-bit"),
        ("a.mkv", "ffv1", "gray", "grayscale"),
        ("a.mov", "prores_ks", "yuva444p10le", "transparency"),
    ],
)
def test_conversions_are_said(tmp_path: Path, name: str, codec: str, pixels: str, loss: str) -> None:
    source = make(tmp_path / name, codec, pixels=pixels)
    with pytest.warns(UserWarning, match=loss):
        reader = VideoReader(source)
    assert next(reader.chunks(2)).shape == (2, 3, 48, 64)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    empty, text, missing = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "missing.mp4"
    empty.touch()
    text.write_text("this is no video\n" * 100)
    with pytest.raises(ValueError, match="zero bytes"):
        VideoReader(empty)
    with pytest.raises(ValueError, match="not a video"):
        VideoReader(text)
    with pytest.raises(FileNotFoundError, match="no such video"):
        VideoReader(missing)


def test_audio_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), "s16", "stereo")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(ValueError, match="no video stream"):
        VideoReader(path)


def test_playlists_cannot_reach_other_files(tmp_path: Path) -> None:
    inner = make(tmp_path / "inner.mp4")
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {inner.name}\n")
    with pytest.raises(ValueError, match="not a video"):
        VideoReader(playlist)


@pytest.mark.parametrize("audio", [None, "aac"])
def test_truncated_mkv_is_noticed(tmp_path: Path, audio: str | None) -> None:
    whole = make(tmp_path / "whole.mkv", frames=60, size=(96, 128), audio=audio).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ValueError, match=r"cut\.mkv: cut off: it declares 2\.0"):
        len(VideoReader(cut))


def test_mp4_without_its_index_says_what_to_do(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.mp4", frames=60).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(ValueError, match=r"without it the frames cannot be found; get it again"):
        VideoReader(cut)


def test_mp4_cut_off_in_its_leading_index_is_an_error(tmp_path: Path) -> None:
    frames = torch.zeros(5, 3, 64, 64)
    write_clip(tmp_path / "whole.mp4", frames, 10)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((tmp_path / "whole.mp4").read_bytes()[:400])
    with pytest.raises(ValueError, match=r"cut\.mp4: its video is damaged"):
        VideoReader(cut)


def test_damaged_packets_are_an_error_or_held(tmp_path: Path) -> None:
    source = make(tmp_path / "a.avi", "mjpeg", frames=20, pixels="yuvj420p")
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[10]
    data[position + 8 : position + size] = bytes(size - 8)
    damaged = tmp_path / "b.avi"
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match=r"b\.avi: damaged at 0\.3\d s"):
        len(VideoReader(damaged))
    reader = VideoReader(damaged, on_corrupt="hold")
    frames = torch.cat(list(reader.chunks(6)))
    assert len(reader) == len(frames) == 20
    assert reader.held == 1
    assert torch.equal(frames[10], frames[9])


def test_only_the_first_seconds(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", frames=60, audio="aac")
    reader = VideoReader(source, end=0.5)
    assert len(reader) == len(torch.cat(list(reader.chunks(4)))) == 15
    with VideoWriter(tmp_path / "out.mp4", like=reader) as writer:
        for chunk in reader.chunks(4):
            writer.write(chunk)
    assert audio_bytes(tmp_path / "out.mp4")[2][-1] < 0.52


def test_nothing_half_written(tmp_path: Path) -> None:
    source = VideoReader(make(tmp_path / "a.mp4"))
    target = tmp_path / "out.mp4"
    target.write_bytes(b"previous")

    def fail_midway() -> None:
        with VideoWriter(target, like=source) as writer:
            writer.write(next(source.chunks(3)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_midway()
    with pytest.raises(ValueError, match="3 of 12 frames"), VideoWriter(target, like=source) as writer:
        writer.write(next(source.chunks(3)))
    assert target.read_bytes() == b"previous"
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "out.mp4"]


def test_write_clip_and_metadata(tmp_path: Path) -> None:
    frames = torch.from_numpy(np.stack([picture(i, 32, 32) for i in range(6)])).permute(0, 3, 1, 2)
    write_clip(tmp_path / "a.mp4", frames, fps=12, metadata={"comment": "synthetic"})
    write_clip(tmp_path / "b.mkv", iter((frames.float() / 127.5 - 1).split(4)), fps=12)
    first, second = VideoReader(tmp_path / "a.mp4"), VideoReader(tmp_path / "b.mkv")
    assert first.fps == 12
    assert len(first) == len(second) == 6
    assert torch.equal(next(first.chunks(6)), next(second.chunks(6)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["comment"] == "synthetic"
    with pytest.raises(ValueError, match=r"\.mp4"):
        write_clip(tmp_path / "a.gif", frames, fps=12)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    frames = torch.from_numpy(np.stack([picture(index, 336, 208) for index in range(8)])).permute(0, 3, 1, 2)
    files = set()
    for index in range(12):
        write_clip(tmp_path / f"{index}.mp4", frames, fps=8)
        files.add((tmp_path / f"{index}.mp4").read_bytes())
    assert len(files) == 1


def test_no_warnings_for_ordinary_files(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VideoReader(make(tmp_path / "a.mp4"))


def test_a_few_looks_are_frames_of_the_clip(tmp_path: Path) -> None:
    frames = torch.rand(11, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_clip(tmp_path / "a.mp4", frames, fps=10)
    write_clip(tmp_path / "a.mkv", frames, fps=10)  # it does not say how many frames it has
    write_clip(tmp_path / "b.mp4", frames[:3], fps=10)
    for name, seconds, wanted in (
        ("a.mp4", None, [0, 2, 5, 8, 10]),
        ("a.mkv", None, [0, 2, 5, 8, 10]),
        ("a.mp4", 0.65, [0, 2, 3, 4, 6]),
        ("b.mp4", None, [0, 1, 2]),
    ):
        every = torch.cat(list(VideoReader(tmp_path / name, end=seconds).chunks(16)))
        assert torch.equal(VideoReader(tmp_path / name, end=seconds).looks, every[wanted])


def test_looks_do_not_believe_what_the_file_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.rand(11, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_clip(tmp_path / "a.mp4", frames, fps=10)
    every = torch.cat(list(VideoReader(tmp_path / "a.mp4").chunks(16)))
    for declared in (1, 4, 500):
        monkeypatch.setattr(VideoReader, "_declared_frames", lambda *_, declared=declared: declared)
        assert torch.equal(VideoReader(tmp_path / "a.mp4").looks, every[[0, 2, 5, 8, 10]])
