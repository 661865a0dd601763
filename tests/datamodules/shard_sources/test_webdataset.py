"""webdataset, the reader's ecosystem: it reads our shards, and we read what anybody writes with it."""

import io
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from keyface.celeba import CELEBA_ATTRIBUTES
from keyface.datamodules.shards import ShardsDataModule

LANDMARKS = [[5.0, 6.0], [10.0, 6.0], [7.5, 9.0], [5.5, 12.0], [9.5, 12.0]]


def picture(number: int) -> np.ndarray:
    """A smooth picture, which JPEG keeps."""
    rows, columns = np.mgrid[0:16, 0:16]
    return np.stack([rows * 12 + number, columns * 12 + number, (rows + columns) * 6], axis=-1).astype(
        np.uint8
    )


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_webdataset_reads_our_shards(make_shards, make_sample) -> None:
    folder = make_shards(3, 2, with_latents=True)
    dataset = webdataset.WebDataset(
        [str(folder / f"shard-00000{number}.tar") for number in (0, 1)], shardshuffle=False
    ).decode("rgb8")
    read = list(dataset)
    assert [each["__key__"] for each in read] == [f"{number:05d}" for number in range(5)]
    for number, each in enumerate(read):
        wrote = make_sample(number)
        assert np.array_equal(each["png"], wrote.image)
        assert each["json"]["caption"] == wrote.record.caption
        assert each["json"]["attributes"] == wrote.record.attributes
        assert each["json"]["landmarks"] == LANDMARKS


@pytest.mark.parametrize("image", ["jpg", "png"])
def test_what_shard_writer_writes_is_read(tmp_path: Path, image: str) -> None:
    """With its own encoders, a caption as text, a mask, and no index."""
    labels = {**dict.fromkeys(CELEBA_ATTRIBUTES, False), "Dimples": True}
    with webdataset.ShardWriter(str(tmp_path / "mine-%03d.tar"), maxcount=2, verbose=0) as writer:
        for number in range(5):
            mask = io.BytesIO()
            Image.fromarray(np.full((16, 16), number, np.uint8)).save(mask, "PNG")
            record = {"identity": number, "caption": "a face", "attributes": labels, "landmarks": LANDMARKS}
            writer.write(
                {
                    "__key__": f"face{number}",
                    image: picture(number) / 255.0,
                    "json": record,
                    "txt": f"person {number}",
                    "mask.png": mask.getvalue(),
                }
            )
    data = ShardsDataModule(tmp_path, batch_size=5, val_fraction=0.0, with_mask=True)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["key"]) == [f"face{number}" for number in range(5)]
    for row, key in enumerate(batch["key"]):
        number = int(key.removeprefix("face"))
        assert batch["caption"][row] == f"person {number}"
        assert batch["identity"][row] == number
        assert batch["attributes"][row] == labels
        assert batch["mask"][row].unique().tolist() == [number]
        pixels = batch["image"][row].permute(1, 2, 0).add(1).mul(127.5).numpy()
        # webdataset keeps the fraction that a float loses, 1 of 255, and PIL's JPEG a little more.
        assert np.abs(pixels - picture(number)).mean() < (1.01 if image == "png" else 5)
    assert "Dimples" in data.labels()
