"""Where the regions that an edit may change are, in the crops that are edited."""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from keyface.faces.regions.drawing import draw_regions
from keyface.faces.regions.labels import check_regions, region_mask
from keyface.faces.regions.landmarks import Landmarker
from keyface.faces.regions.outlines import OUTLINES

_PARSED = 4
"""Crops that are parsed together: parsers are large networks."""

_FARTHEST = 8
"""Sides of the crop that landmarks may be away from it."""

_SMALLEST = 0.05
"""Of the side of the crop: smaller than this is no face that was placed there."""


class RegionSource(Protocol):
    """Find named regions of faces in their crops.

    Attributes:
        name: What finds them, for records.
    """

    name: str

    def __call__(self, crops: Tensor, names: Collection[str]) -> Tensor:
        """Return masks (n, 1, s, s) float32 in [0, 1], on the CPU.

        Args:
            crops: (n, 3, s, s) in [-1, 1].
            names: Of `keyface.celeba.REGIONS`; none means the whole picture, as in an edit category.
        """
        ...


class ParsedRegions:
    """Regions from a label map of each picture: a face parser's, or the truth of a rendered one.

    Args:
        label: Gives (n, s, s) of `keyface.celeba.REGIONS` for crops (n, 3, s, s), as
            `keyface.faces.parser.FaceParser` does.
        name: What finds them, for records.
    """

    def __init__(self, label: Callable[[Tensor], Tensor], name: str = "label maps") -> None:
        self.label, self.name = label, name

    def __call__(self, crops: Tensor, names: Collection[str]) -> Tensor:
        """Return the pixels that are labelled with one of the names, see `RegionSource`."""
        check_regions(names)
        if not names:
            return everywhere(crops)
        masks = [region_mask(self.label(part), names) for part in torch.split(crops, _PARSED)]
        return torch.cat(masks)[:, None].float().cpu()


class LandmarkRegions:
    """Regions drawn from dense landmarks, see `drawing.draw_regions`.

    A frame whose landmarks are not finite, far outside the crop or on one spot gets the whole picture.

    Args:
        landmarks: Gives 68 (iBUG), 468 or 478 (MediaPipe) points of the face in each crop.
        name: What finds them, for records.
    """

    def __init__(self, landmarks: Landmarker, name: str = "landmarks") -> None:
        self.landmarks, self.name = landmarks, name

    def __call__(self, crops: Tensor, names: Collection[str]) -> Tensor:
        """Return what is drawn for the names, see `RegionSource`."""
        check_regions(names)
        if not names:
            return everywhere(crops)
        size = crops.shape[-1]
        points = self.landmarks(crops).cpu().double().numpy()
        if points.shape[1] not in OUTLINES:
            known = ", ".join(map(str, OUTLINES))
            raise ValueError(f"{points.shape[1]} landmarks are in an unknown order; {known} are known")
        extents = np.ptp(points, axis=1).max(axis=1)
        finite = np.isfinite(points).all(axis=(1, 2)) & (np.abs(points).max(axis=(1, 2)) < _FARTHEST * size)
        sane = finite & (extents > _SMALLEST * size)
        masks = [
            draw_regions(face, names, size) if drawable else np.full((size, size), 255, np.uint8)
            for face, drawable in zip(points, sane, strict=True)
        ]
        return torch.from_numpy(np.stack(masks))[:, None].float() / 255


class CropStream(Protocol):
    """Crops of a clip, read in chunks as often as they are needed."""

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield crops in order, (n, 3, s, s) in [-1, 1] with n ≤ `size`."""


class RegionMasks:
    """The masks of a clip, found while they are read: what `VideoEditor.prepare` takes as `regions`.

    Args:
        crops: The clip.
        find: Gives the masks (n, 1, s, s) in [0, 1] of crops (n, 3, s, s) in [-1, 1].
    """

    def __init__(self, crops: CropStream, find: Callable[[Tensor], Tensor]) -> None:
        self.crops, self.find = crops, find

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield masks in order, (n, 1, s, s) in [0, 1], in the chunks of the clip."""
        for crops in self.crops.chunks(size):
            yield self.find(crops)


def everywhere(crops: Tensor, names: Collection[str] = ()) -> Tensor:
    """Return masks (n, 1, s, s) of ones: nothing finds regions, so that all may be any of them."""
    return torch.ones(len(crops), 1, *crops.shape[-2:])
