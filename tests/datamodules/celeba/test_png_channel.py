"""The fast decoder tells what Pillow tells, and refuses what is damaged."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from keyface.datamodules.celeba import png_channel
from keyface.datamodules.celeba.png_channel import first_channel
from keyface.datamodules.shard_files.schema import SampleError


def png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def part() -> np.ndarray:
    """A mask with a ragged border: an ellipse and noise, (96, 80)."""
    rows, columns = np.mgrid[:96, :80]
    inside = ((rows - 40) / 30) ** 2 + ((columns - 50) / 28) ** 2 < 1
    return np.where(inside ^ (np.random.default_rng(0).random((96, 80)) < 0.02), 255, 0).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "LA", "I;16"])
def test_every_kind_of_png_gives_the_same_map(part: np.ndarray, mode: str) -> None:
    picture = Image.fromarray(part)
    stored = (
        Image.fromarray(part.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode, dither=0)
    )
    np.testing.assert_array_equal(first_channel(png(stored)) != 0, part != 0)


@pytest.mark.parametrize("filtering", range(5))
def test_every_filter_of_png_gives_the_same_values(part: np.ndarray, filtering: int) -> None:
    """Rows are filtered by hand here, since encoders choose the filters themselves."""
    gray = (part // 2 + np.arange(80, dtype=np.uint8)).astype(np.uint8)
    rows, previous = [], np.zeros(80, dtype=int)
    for row in gray.astype(int):
        left = np.concatenate([[0], row[:-1]])
        corner = np.concatenate([[0], previous[:-1]])
        distances = np.abs(np.stack([left, previous, corner]) - (left + previous - corner))
        paeth = np.take_along_axis(np.stack([left, previous, corner]), distances.argmin(0)[None], 0)[0]
        guess = [np.zeros(80, dtype=int), left, previous, (left + previous) // 2, paeth][filtering]
        rows.append(bytes([filtering]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        previous = row
    header = png(Image.fromarray(gray))[:33]
    content = zlib.compress(b"".join(rows))
    chunks = [(b"IDAT", content), (b"IEND", b"")]
    data = header + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in chunks
    )
    np.testing.assert_array_equal(first_channel(data), gray)


def test_plain_files_never_reach_pillow(part: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(png_channel, "Image")
    colours = np.stack([part, part, part], axis=-1)
    assert first_channel(png(Image.fromarray(colours))).shape == part.shape


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:20],
        lambda data: data[:-30],
        lambda data: b"\xff\xd8\xff\xe0" + data[4:],
        lambda data: data[:16] + b"\x00\x00\x00\x00" + data[20:],
        lambda data: data[:16] + (100_000).to_bytes(4, "big") + data[20:],
        lambda data: data[:16] + (81).to_bytes(4, "big") + data[20:],
        lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_damaged_files_are_refused(part: np.ndarray, spoil, mode: str) -> None:
    with pytest.raises(SampleError):
        first_channel(spoil(png(Image.fromarray(part).convert(mode))))
