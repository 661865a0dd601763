"""Interlaced videos are read as whole frames, each of one moment."""

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.filter import Graph

from keyface.video import VideoReader, VideoWriter

HEIGHT, WIDTH, FRAMES = 96, 128, 12
TOP_FIRST, BOTTOM_FIRST = 2, 3


def moment(time: float) -> np.ndarray:
    """A bright bar that moves by 6 pixels a frame, with soft edges, on a gradient."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    bar = 120 / (1 + np.exp((np.abs(columns - 20 - 6 * time) - 10) / 2))
    return np.repeat((40 + rows / 2 + bar)[..., None], 3, axis=2).astype(np.uint8)


def woven(index: int, order: int) -> np.ndarray:
    """Two fields, half a frame apart."""
    first, second = moment(index), moment(index + 0.5)
    frame = first.copy()
    later = 1 if order == TOP_FIRST else 0
    frame[later::2] = second[later::2]
    return frame


def make(
    path: Path, codec: str, order: int, *, flagged: bool = True, progressive: int = 0, pixels: str = "yuv420p"
) -> Path:
    """Write woven fields; the first `progressive` frames are whole."""
    options = {"crf": "10", "x264-params": "repeat-headers=1"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.field_order = order
        if flagged and codec == "libx264":
            stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion
        for index in range(FRAMES):
            image = moment(index) if index < progressive else woven(index, order)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            if flagged and index >= progressive:
                frame = called(frame, "tff" if order == TOP_FIRST else "bff")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def called(frame: av.VideoFrame, mode: str) -> av.VideoFrame:
    """Return a frame that says to be interlaced, which PyAV cannot set."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("setfield", mode=mode), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def combing(frames: torch.Tensor) -> float:
    """How much more neighbouring rows differ than rows of one field, in levels of 255."""
    levels = (frames[:, 0] + 1) * 127.5
    near = (levels[:, 1:-1] - (levels[:, :-2] + levels[:, 2:]) / 2).abs().mean()
    return float(near)


def read(path: Path) -> tuple[VideoReader, torch.Tensor]:
    with pytest.warns(UserWarning, match=rf"{path.name}: interlaced, so deinterlaced at the same frame rate"):
        reader = VideoReader(path)
    frames = torch.cat(list(reader.chunks(5)))
    assert len(reader) == len(frames) == FRAMES
    return reader, frames


@pytest.mark.parametrize("order", [TOP_FIRST, BOTTOM_FIRST])
@pytest.mark.parametrize(
    ("name", "codec", "flagged"),
    [("a.mp4", "libx264", True), ("a.mkv", "ffv1", False), ("a.mkv", "mjpeg", False)],
)
def test_fields_become_frames_of_their_first_moment(
    tmp_path: Path, name: str, codec: str, flagged: bool, order: int
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    reader, frames = read(make(tmp_path / name, codec, order, flagged=flagged, pixels=pixels))
    assert reader.appearance.interlaced
    assert [timing.pts * reader.time_base for timing in reader.timings] == [
        Fraction(i, 25) for i in range(FRAMES)
    ]
    expected = torch.stack([torch.from_numpy(moment(index)) for index in range(FRAMES)]).permute(0, 3, 1, 2)
    late = torch.stack([torch.from_numpy(moment(index + 0.5)) for index in range(FRAMES)]).permute(0, 3, 1, 2)
    levels = (frames + 1) * 127.5
    inner = slice(2, -2)
    error = float((levels - expected)[inner].abs().mean())
    assert error < 3
    assert error < 0.5 * float((levels - late)[inner].abs().mean())
    weave = torch.stack([torch.from_numpy(woven(index, order)) for index in range(FRAMES)])
    before = combing(weave.permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert combing(frames[inner]) < 0.3 * before


def test_what_is_written_is_progressive(tmp_path: Path) -> None:
    reader, _ = read(make(tmp_path / "a.mp4", "libx264", TOP_FIRST))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with VideoWriter(tmp_path / "out.mp4", like=reader) as writer:
            for chunk in reader.chunks(5):
                writer.write(chunk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = VideoReader(tmp_path / "out.mp4")
        assert len(copy) == FRAMES
    assert not copy.appearance.interlaced


def test_progressive_frames_stay_as_they_are(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(woven(index, TOP_FIRST), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = torch.cat(list(VideoReader(tmp_path / "a.mkv").chunks(3)))
    expected = torch.from_numpy(woven(1, TOP_FIRST)).permute(2, 0, 1)
    assert float(((frames[1] + 1) * 127.5 - expected).abs().mean()) < 1


def test_frames_that_begin_to_be_interlaced(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.mp4", "libx264", 1, flagged=False, progressive=FRAMES)
    fields = make(tmp_path / "fields.mp4", "libx264", TOP_FIRST)
    path = tmp_path / "both.mkv"
    with av.open(str(path), "w") as target, av.open(str(whole)) as first, av.open(str(fields)) as second:
        stream = target.add_stream_from_template(first.streams.video[0])
        for offset, source in ((0, first), (FRAMES, second)):
            for packet in source.demux(video=0):
                if packet.size:
                    shift = round(Fraction(offset, 25) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    target.mux(packet)
    reader = VideoReader(path)
    with pytest.warns(UserWarning, match=r"interlaced from 0\.48 s on, so deinterlaced"):
        frames = torch.cat(list(reader.chunks(5)))
    assert len(reader) == len(frames) == 2 * FRAMES
    assert combing(frames[FRAMES + 2 : -2]) < 1.2 * combing(frames[2 : FRAMES - 2]) + 0.5
