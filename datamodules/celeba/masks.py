"""CelebAMask-HQ's masks, one file a class, merged into one map of 19 classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keyface.celeba import REGIONS
from keyface.datamodules.celeba.png_channel import first_channel
from keyface.datamodules.shard_files.schema import SampleError, decode_mask

PER_FOLDER = 2000
"""CelebAMask-HQ keeps the masks of pictures 0 to 1999 in the folder `0`, and so on."""


def read_mask(folder: Path, key: str, size: int) -> NDArray[np.uint8]:
    """Read one picture's map of classes.

    Files are `folder/0/00012_hair.png` as published, the same without the numbered folders, or one finished
    map `folder/12.png` of class ids. Where parts overlap the later class of the published order wins, as in
    the data set's own script.

    Args:
        folder: The masks.
        key: The picture's name without its ending.
        size: Side of the result, pixels; resized to the nearest pixel.

    Returns:
        (size, size) uint8, ids of `keyface.celeba.REGIONS`.

    Raises:
        SampleError: There is no mask, or it cannot be read.
    """
    whole = folder / f"{key}.png"
    labels = decode_mask(whole.read_bytes()) if whole.is_file() else _merged(folder, key)
    if labels.shape == (size, size):
        return labels
    return np.asarray(Image.fromarray(labels).resize((size, size), Image.Resampling.NEAREST), dtype=np.uint8)


def _merged(folder: Path, key: str) -> NDArray[np.uint8]:
    name = f"{int(key):05d}" if key.isdigit() else key
    if key.isdigit() and (folder / str(int(key) // PER_FOLDER)).is_dir():
        folder = folder / str(int(key) // PER_FOLDER)
    labels: NDArray[np.uint8] | None = None
    for label, region in enumerate(REGIONS[1:], 1):
        path = folder / f"{name}_{region}.png"
        try:
            part = first_channel(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, SampleError) as error:
            raise SampleError(f"{path}: cannot be read: {error}") from error
        if labels is None:
            labels = np.zeros(part.shape, dtype=np.uint8)
        if part.shape != labels.shape:
            raise SampleError(f"{path}: {part.shape}, the other masks of this picture are {labels.shape}")
        np.copyto(labels, label, where=part != 0)
    if labels is None:
        raise SampleError(f"no mask {folder / name}_*.png")
    return labels
