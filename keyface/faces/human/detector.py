"""MediaPipe's BlazeFace for back cameras: boxes and eyes in the whole picture and in parts of it."""

from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from keyface.faces.human.squares import Pyramid
from keyface.faces.tfjs import GraphNetwork

SIZE = 256
GRIDS = ((16, 2), (8, 6))
"""Cells across and anchors a cell, for the two groups of candidates."""

_SAME_FACE = 0.3
_SAME_PLACE = 0.2
_OVERLAP = 0.2
_DOUBTFUL, _SURE = 0.4, 0.8
"""Scores from which on something is looked at again, and from which on once is enough."""
_NEAR = 4.0
"""Side of what is seen at the second look, of the box."""
_MOST_LOOKS = 8
"""Of the unsure ones so many, the surest, are looked at again, so that clutter costs bounded time."""


class Candidates(NamedTuple):
    """Boxes that may show a face.

    Attributes:
        boxes: (n, 4) pixels: left, top, right, bottom.
        eyes: (n, 2, 2) pixels (x, y): left and right eye as seen in the image.
        scores: (n,) in (0, 1).
    """

    boxes: Tensor
    eyes: Tensor
    scores: Tensor


class BlazeFace(nn.Module):
    """Finds what may be faces, of 15 to 200 of the 256 pixels that it sees of a part of the picture.

    Args:
        network: Gives scores and corrections of the anchors of both groups.
    """

    anchors: Tensor

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("anchors", _anchors(), persistent=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of human's files, see `GraphNetwork.load`."""
        outputs = ("Identity", "Identity_1", "Identity_2", "Identity_3")
        return cls(GraphNetwork.load(folder / "blazeface-back.json", outputs))

    def forward(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Look at parts (B, 3, 256, 256) in [-1, 1].

        Returns:
            Logits (B, 896), and (B, 896, 8, 2) in fractions of the side: centre, size, left eye, right eye as
            seen in the image, nose, mouth, left and right ear.
        """
        many, few, many_boxes, few_boxes = self.network(parts)
        logits = torch.cat([many, few], dim=1)[..., 0]
        raw = torch.cat([many_boxes, few_boxes], dim=1).view(len(parts), -1, 8, 2) / SIZE
        shifts = self.anchors[None, :, None].expand(-1, -1, 8, -1).clone()
        shifts[:, :, 1] = 0
        return logits, raw + shifts

    def detect(self, pyramid: Pyramid, threshold: float, levels: int) -> Candidates:
        """Find candidates in an image, the surest first.

        What is unsure, as small faces are, is looked at again from near.

        Args:
            pyramid: The image.
            threshold: Least score, at the second look if there is one.
            levels: 1 looks at the whole image; each further level also at square parts, first of the image's
                shorter side, then of half of it and so on.
        """
        height, width = pyramid.levels[0].shape[-2:]
        far, part = self._look_at(pyramid, squares_over(height, width, levels), min(threshold, _DOUBTFUL))
        found = _merge(far, part)
        unsure = (found.scores < _SURE) & ((found.scores < _SURE).cumsum(dim=0) <= _MOST_LOOKS)
        if not unsure.any():
            return found
        boxes = found.boxes[unsure]
        sides = _NEAR * (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
        corners = (boxes[:, 2:] + boxes[:, :2] - sides) / 2
        squares = [(left, top, side) for left, top, side in torch.cat([corners, sides], dim=1).tolist()]
        near, part = self._look_at(pyramid, squares, threshold)
        # In each near look only what lies where the far one saw something.
        there = box_iou(near.boxes, boxes).gather(1, part[:, None])[:, 0] > _SAME_PLACE
        near = _merge(Candidates(*(values[there] for values in near)), part[there])
        kept = ~unsure & (found.scores >= threshold)
        both = [torch.cat([old[kept], new]) for old, new in zip(found, near, strict=True)]
        return _merge(Candidates(*both), torch.arange(len(both[0]), device=part.device))

    def _look_at(
        self, pyramid: Pyramid, parts: list[tuple[float, float, float]], threshold: float
    ) -> tuple[Candidates, Tensor]:
        """Look at squares (left, top, side); return candidates in pixels, and the square of each."""
        logits, raw = self(torch.cat([_look(pyramid, part) for part in parts]))
        places = torch.tensor(parts, device=raw.device, dtype=torch.float32)
        scores = logits.sigmoid()
        part, candidate = (scores >= threshold).nonzero(as_tuple=True)
        points = raw[part, candidate] * places[part, 2, None, None]
        centres, halves = points[:, 0] + places[part, :2], points[:, 1] / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=1)
        eyes = points[:, 2:4] + places[part, None, :2]
        return Candidates(boxes, eyes, scores[part, candidate]), part


def squares_over(height: int, width: int, levels: int) -> list[tuple[float, float, float]]:
    """Return squares (left, top, side) in which to look: the whole image, then overlapping parts of it."""
    longest, side = max(height, width), min(height, width)
    squares = [((width - longest) / 2, (height - longest) / 2, float(longest))]
    for level in range(1, levels):
        if level > 1:
            side = side // 2
        if side < SIZE // 2 or side > 0.9 * longest:
            continue
        squares += [
            (float(left), float(top), float(side))
            for top in _starts(height, side)
            for left in _starts(width, side)
        ]
    return squares


def _starts(length: int, side: int) -> list[int]:
    """Spread windows over a length evenly, so that neighbours overlap by a fifth or more."""
    free = length - side
    count = 1 + -(-free // max(round(side * (1 - _OVERLAP)), 1))
    return [round(free * index / max(count - 1, 1)) for index in range(count)]


def _look(pyramid: Pyramid, square: tuple[float, float, float]) -> Tensor:
    """Cut a square out and resize it to (1, 3, 256, 256); black outside the image."""
    left, top, side = square
    halvings, image = pyramid.level(side / SIZE)
    height, width = image.shape[-2:]
    step = 2**halvings
    first, last = max(round(left / step), 0), min(round((left + side) / step), width)
    upper, lower = max(round(top / step), 0), min(round((top + side) / step), height)
    inside = image[..., upper:lower, first:last]
    columns, rows = round((last - first) * step / side * SIZE), round((lower - upper) * step / side * SIZE)
    small = F.interpolate(inside, (rows, columns), mode="bilinear", align_corners=False)
    before, above = round((first * step - left) / side * SIZE), round((upper * step - top) / side * SIZE)
    return F.pad(small, (before, SIZE - columns - before, above, SIZE - rows - above), value=-1.0)


def _merge(found: Candidates, parts: Tensor) -> Candidates:
    """Take candidates of one face together: the mean of those of the surest one's part of the image.

    The mean is weighted by the scores, as BlazeFace's authors do against jitter.
    """
    order = found.scores.argsort(descending=True)
    boxes, eyes, scores = (values[order] for values in found)
    parts = parts[order]
    overlaps = box_iou(boxes, boxes) > _SAME_FACE
    left = torch.ones_like(scores, dtype=torch.bool)
    merged = []
    for index in range(len(scores)):
        if left[index]:
            same = overlaps[index] & left
            left &= ~same
            near = same & (parts == parts[index])
            weights = scores[near] / scores[near].sum()
            merged.append(
                (
                    (weights[:, None] * boxes[near]).sum(dim=0),
                    (weights[:, None, None] * eyes[near]).sum(dim=0),
                    scores[index],
                )
            )
    if not merged:
        return Candidates(boxes, eyes, scores)
    means = zip(*merged, strict=True)
    return Candidates(*(torch.stack(values) for values in means))


def _anchors() -> Tensor:
    """Return the centres (896, 2) of all candidates, fractions of the side."""
    groups = []
    for cells, count in GRIDS:
        steps = (torch.arange(cells) + 0.5) / cells
        ys, xs = torch.meshgrid(steps, steps, indexing="ij")
        groups.append(torch.stack([xs, ys], dim=-1).view(-1, 2).repeat_interleave(count, dim=0))
    return torch.cat(groups)
