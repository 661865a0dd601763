import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from keyface.celeba import ATTRIBUTES
from keyface.datamodules.shard_files.schema import (
    Latents,
    Record,
    Sample,
    SampleError,
    decode_image,
    decode_latents,
    decode_mask,
    encode,
    parse_record,
    require_inside,
    split_name,
)

RECORD = {
    "identity": 7,
    "caption": "a man",
    "attributes": dict.fromkeys(ATTRIBUTES, False),
    "landmarks": [[5, 6], [10, 6], [7.5, 9], [5.5, 12], [9.5, 12]],
}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_encode_then_decode_gives_the_sample_back() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    mask = generator.integers(0, 19, (8, 8), dtype=np.uint8)
    latents = Latents(torch.randn(4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([1, 21, 41]))
    record = parse_record(json.dumps(RECORD).encode())
    members = encode(Sample("a-1", image, record, mask, latents), image_format="png")
    assert list(members) == ["json", "png", "mask.png", "latents.safetensors"]
    assert np.array_equal(decode_image(members["png"], "png"), image)
    assert np.array_equal(decode_mask(members["mask.png"]), mask)
    back = decode_latents(members["latents.safetensors"])
    assert torch.equal(back.inverted, latents.inverted)
    assert back.timesteps.tolist() == [1, 21, 41]
    again = parse_record(members["json"])
    assert (again.identity, again.caption, again.attributes) == (7, "a man", record.attributes)
    assert np.array_equal(again.landmarks, np.array(RECORD["landmarks"], np.float32))


def test_jpeg_keeps_a_smooth_image() -> None:
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), axis=-1)
    record = Record(0, "x", RECORD["attributes"], np.array(RECORD["landmarks"], np.float32))  # type: ignore[arg-type]
    decoded = decode_image(encode(Sample("a", image, record))["jpg"], "jpg")
    assert np.abs(decoded.astype(int) - image.astype(int)).max() <= 6


@pytest.mark.parametrize(
    "name",
    ["../a.json", "/etc/a.json", "a/b.json", "..json", ".json", "a\\b.json", "ä.json", "a.pkl", "a.pyd", "a",
     "a.jpg.pkl", "a.JSON", "__a__/b.json", "a.mask.jpg"],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(SampleError, match="refused member"):
        split_name(name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": -1}, "identity"),
        ({"identity": "7"}, "identity"),
        ({"identity": True}, "identity"),
        ({"caption": " "}, "caption"),
        ({"attributes": {"Male": True}}, "attributes lacks 5_o_Clock_Shadow"),
        ({"attributes": dict.fromkeys(ATTRIBUTES, 1)}, "true or false"),
        ({"landmarks": [[1, 2]] * 4}, "five pairs"),
        ({"landmarks": [[1, 2, 3]] * 5}, "five pairs"),
        ({"landmarks": [[1, float("nan")]] * 5}, "NaN is no number"),
        ({"landmarks": [[1, True]] * 5}, "finite"),
        ({"landmarks": [[1, 1e300]] * 5}, "finite numbers, of pixels within 16384"),
        ({"landmarks": [[1, 10**39]] * 5}, "finite"),
        ({"landmarks": [["1", 2]] * 5}, "finite"),
        ({"landmarks": [[0, 0]] * 5}, "collinear or in one place"),
        ({"landmarks": [[i, 2 * i] for i in range(5)]}, "collinear or in one place"),
    ],
)
def test_records_that_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(SampleError, match=said):
        parse_record(json.dumps({**RECORD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b"{}"])
def test_json_that_is_garbage(data: bytes) -> None:
    with pytest.raises(SampleError, match="json"):
        parse_record(data)


def test_images_that_are_refused() -> None:
    square = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(SampleError, match="cannot be read"):
        decode_image(b"not an image", "jpg")
    with pytest.raises(SampleError, match="cannot be read"):
        decode_image(png(square), "jpg")  # the name decides the decoder, not the content
    with pytest.raises(SampleError, match="8x4; crop faces"):
        decode_image(png(square[:4]), "png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(SampleError, match="cannot be decoded"):
        decode_image(png(noise)[:4000], "png")
    with pytest.raises(SampleError, match="limit is 8192"):
        decode_image(png(np.zeros((1, 9000), np.uint8)), "png")


def test_masks_that_are_refused() -> None:
    with pytest.raises(SampleError, match="class 19"):
        decode_mask(png(np.full((4, 4), 19, np.uint8)))
    with pytest.raises(SampleError, match="mode RGB"):
        decode_mask(png(np.zeros((4, 4, 3), np.uint8)))


def test_latents_that_are_refused() -> None:
    latent, inverted, timesteps = torch.zeros(4, 2, 2), torch.zeros(3, 4, 2, 2), torch.arange(3)
    with pytest.raises(SampleError, match="cannot be read"):
        decode_latents(b"\x80\x04pickle")
    with pytest.raises(SampleError, match="lack inverted"):
        decode_latents(save({"latent": latent}))
    with pytest.raises(SampleError, match="must be"):
        decode_latents(save({"latent": latent, "inverted": inverted[:, :3].clone(), "timesteps": timesteps}))
    with pytest.raises(SampleError, match="not finite"):
        decode_latents(save({"latent": latent / 0, "inverted": inverted, "timesteps": timesteps}))


@pytest.mark.parametrize(
    "text", ["1" + "0" * 400, "1e400", "NaN", "-Infinity", "[" * 5000, '{"a": 1, "a": 2}']
)
def test_numbers_and_depths_that_no_record_has(text: str) -> None:
    record = json.dumps(RECORD).replace("7.5", text)
    assert record != json.dumps(RECORD)
    with pytest.raises(SampleError) as found:
        parse_record(record.encode())
    assert len(str(found.value)) < 250


def test_landmarks_belong_to_their_image() -> None:
    points = np.array(RECORD["landmarks"], np.float32)
    require_inside(points, 16)
    require_inside(points - 8, 16)  # cut by the border
    with pytest.raises(SampleError, match="off its image of 16 pixels"):
        require_inside(points + 13, 16)
