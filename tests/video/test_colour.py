"""Colours through reader and writer: no drift, exact values, tags kept."""

import itertools
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter

from keyface.video import Encoding, VideoReader, VideoWriter
from keyface.video.colour import Appearance, from_rgb, to_rgb

BT601, BT709, BT2020 = 6, 1, 9
WEIGHTS = {2: (0.299, 0.114), BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}
FULL = 2


def texture(index: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Colours in blocks of two pixels, which 4:2:0 can hold, (H, W, 3) uint8."""
    random = np.random.default_rng(index)
    small = random.integers(80, 176, (height // 2 + 1, width // 2 + 1, 3)).astype(np.uint8)
    return np.ascontiguousarray(small.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    rows = [np.frombuffer(bytes(plane), kind).reshape(plane.height, -1) for plane in frame.planes]
    return [row[:, : plane.width].astype(int) for row, plane in zip(rows, frame.planes, strict=True)]


def yuv(rgb: Sequence[float], matrix: int, full_range: bool, bits: int) -> list[float]:
    """Y, Cb and Cr of one colour in [0, 255], by ITU-T H.273 (8.3)."""
    red, green, blue = (value / 255 for value in rgb)
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    differences = [(blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))]
    if full_range:
        return [luma * (2**bits - 1), *(2 ** (bits - 1) + each * (2**bits - 1) for each in differences)]
    unit = 2 ** (bits - 8)
    return [unit * (16 + 219 * luma), *(unit * (128 + 224 * each) for each in differences)]


def make(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    matrix: int = 2,
    primaries: int = 2,
    transfer: int = 2,
    full_range: bool = False,
    aspect: Fraction | None = None,
) -> Path:
    """Write a file with FFmpeg's own conversion of colours."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "4"} if "x26" in codec else {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        context.color_range = FULL if full_range else 0
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=pixels,
                dst_colorspace=None if matrix == 2 else matrix,
                dst_color_range=FULL if full_range else 1,
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rewrite(source: Path, target: Path, encoding: Encoding | None = None) -> VideoReader:
    reader = VideoReader(source)
    with VideoWriter(target, like=reader, encoding=encoding) as writer:
        for chunk in reader.chunks(4):
            writer.write(chunk)
    return VideoReader(target)


def levels(reader: VideoReader) -> torch.Tensor:
    return (torch.cat(list(reader.chunks(8))) + 1) * 127.5


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("size", [(96, 128), (95, 127)])
def test_five_passes_do_not_shift_colours(tmp_path: Path, full_range: bool, size: tuple[int, int]) -> None:
    images = [texture(index, *size) for index in range(3)]
    codec = "libx264" if size == (96, 128) else "libvpx-vp9"
    path = make(
        tmp_path / "0.mkv", images, codec=codec, full_range=full_range, matrix=BT709 if full_range else 2
    )
    first = levels(VideoReader(path))
    lossless = Encoding(quality=0 if size == (96, 128) else 4, codec="h264" if size == (96, 128) else "vp9")
    for number in range(1, 6):
        rewrite(path, tmp_path / f"{number}.mkv", lossless)
        path = tmp_path / f"{number}.mkv"
    change = levels(VideoReader(path)) - first
    assert float(change.mean(dim=(0, 2, 3)).abs().max()) < 0.1
    assert float(change.abs().mean()) < (0.3 if size == (96, 128) else 2.5), "colours are not blurred either"


@pytest.mark.parametrize(
    ("matrix", "full_range", "bits"), list(itertools.product([2, BT601, BT709, BT2020], [0, 1], [8, 10]))
)
def test_written_levels_are_those_of_the_standard(matrix: int, full_range: bool, bits: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (60, 3))
    expected = np.array([yuv(colour, matrix, full_range, bits) for colour in colours])
    image = torch.from_numpy(colours.T.astype(np.uint8))[:, None].repeat(1, 2, 1)
    appearance = Appearance(colorspace=matrix, full_range=full_range)
    for given in (image, image.float() / 127.5 - 1):
        frame = from_rgb(given, "yuv444p" if bits == 8 else "yuv444p10le", appearance)
        found = np.stack([plane[0] for plane in planes_of(frame)], axis=1)
        assert np.abs(found - expected).max() < 0.51
    halved = from_rgb(image[..., :59], "yuv420p" if bits == 8 else "yuv420p10le", appearance)
    chroma = planes_of(halved)[1][0]
    pairs = [expected[2 * index : min(2 * index + 2, 59), 1].mean() for index in range(30)]
    assert np.abs(chroma - pairs).max() < 0.51


@pytest.mark.parametrize(
    ("matrix", "full_range"), list(itertools.product([2, BT601, BT709, BT2020], [False, True]))
)
def test_read_levels_are_those_of_the_standard(matrix: int, full_range: bool) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (60, 3))
    samples = np.array([yuv(colour, matrix, full_range, 8) for colour in colours]).round().astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.tile(samples.T[:, None], (1, 2, 1)), format="yuv444p")
    frame.colorspace, frame.color_range = matrix, FULL if full_range else 1
    found = to_rgb(frame, VideoReformatter())[0].astype(int)
    assert np.abs(found - colours).max() <= 2, "what rounding the samples loses"
    assert abs((found - colours).mean()) < 0.1


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("a.mp4", None),
        ("a.mkv", None),
        ("a.mov", None),
        ("a.mp4", Encoding(codec="h265")),
        ("a.webm", None),
        ("a.mp4", Encoding(codec="av1", preset="12")),
    ],
)
@pytest.mark.parametrize("tags", [(BT709, 1, 1, False), (BT709, 1, 1, True), (BT2020, 9, 18, False)])
def test_tags_of_colour_are_kept(
    tmp_path: Path, name: str, encoding: Encoding | None, tags: tuple[int, int, int, bool]
) -> None:
    """BT.709, also with full range, and HLG of BT.2020."""
    matrix, primaries, transfer, full_range = tags
    source = make(
        tmp_path / "in.mp4",
        [texture(0)] * 2,
        matrix=matrix,
        primaries=primaries,
        transfer=transfer,
        full_range=full_range,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error" if transfer == 1 else "ignore")  # high dynamic range is said
        target = rewrite(source, tmp_path / name, encoding)
        expected = levels(VideoReader(source))
    found = target.appearance
    assert (found.colorspace, found.primaries, found.transfer, found.full_range) == tags
    assert float((levels(target) - expected).mean().abs()) < 0.3


def test_pictures_in_rgb_are_written_in_a_matrix_that_is_told(tmp_path: Path) -> None:
    source = make(tmp_path / "in.mkv", [texture(0)] * 2, codec="ffv1", pixels="bgr0", matrix=0)
    reader = VideoReader(source)
    assert np.array_equal(levels(reader)[0].permute(1, 2, 0).round().numpy(), texture(0))
    target = rewrite(source, tmp_path / "out.mp4")
    assert target.appearance.colorspace == BT709
    assert float((levels(target) - levels(reader)).mean().abs()) < 0.3


def test_full_range_is_written_as_limited_where_it_cannot_be_told(tmp_path: Path) -> None:
    source = make(tmp_path / "in.mp4", [texture(0)] * 2, matrix=BT709, full_range=True)
    with (
        pytest.warns(UserWarning, match="10-bit"),
        pytest.warns(UserWarning, match="prores cannot say that its range is full; it is made limited"),
    ):
        target = rewrite(source, tmp_path / "out.mov", Encoding(codec="prores"))
    assert not target.appearance.full_range
    assert float((levels(target) - levels(VideoReader(source))).mean().abs()) < 0.3


@pytest.mark.filterwarnings("ignore:.*transparency dropped")
def test_a_matrix_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    source = make(tmp_path / "in.mp4", [texture(0)] * 2, matrix=8)  # YCgCo
    with pytest.warns(UserWarning, match=r"colours of matrix 8 read as BT\.709's"):
        reader = VideoReader(source)
    assert next(reader.chunks(2)).shape == (2, 3, 96, 128)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p"])
@pytest.mark.parametrize("height", [37, 40])
def test_bands_of_a_large_frame_are_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, pixel_format: str, height: int
) -> None:
    image = torch.rand(3, height, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if pixel_format == "yuv444p":
        image = ((image + 1) * 127.5).to(torch.uint8)
    whole = from_rgb(image, pixel_format, Appearance())
    monkeypatch.setattr("keyface.video.colour._BAND_PIXELS", 30 * 7)
    banded = from_rgb(image, pixel_format, Appearance())
    for one, other in zip(whole.planes, banded.planes, strict=True):
        assert torch.equal(torch.from_dlpack(one), torch.from_dlpack(other))
