"""Finds rendered faces anywhere in a picture, of any size and turn, and says where there is none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms

from keyface.faces.alignment import sane_landmarks
from keyface.faces.crops import cut, square_corners
from keyface.faces.face import Face
from keyface.faces.squares import detector_squares
from keyface.miniature.networks.blocks import ConvNormAct

STRIDE = 8
"""Pixels of the picture for each cell of the network's output."""

SMALLEST, LARGEST = 14.0, 72.0
"""Sides of the faces that the network sees at one scale, pixels; the pyramid brings others to them."""

OFFSET_PIXELS = 16.0
"""Unit of the landmarks' offsets from the middle of a cell."""

LONGEST = 640
"""Pixels of the longer side of the largest picture in the pyramid."""

LANDMARKS = 5

_IOU = 0.35
_CLOSER_LOOKS = 2
_REFINED_SIDE, _REFINED_FACE = 96, 44.0


class _Residual(nn.Module):
    """Two dilated convolutions beside a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(x + self.body(x))
        return out


class FaceDetector(nn.Module):
    """Tell of each cell whether a face's middle lies in it, and where its landmarks are.

    A `keyface.faces.face.FaceFinder`.

    Args:
        width: Channels.
    """

    knows = "rendered faces"

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormAct(3, 16, stride=2, act=nn.ReLU),
            ConvNormAct(16, 32, stride=2, act=nn.ReLU),
            ConvNormAct(32, width, stride=2, act=nn.ReLU),
        )
        self.body = nn.Sequential(*(_Residual(width, dilation) for dilation in (1, 2, 4, 1)))
        self.head = nn.Conv2d(width, 1 + 2 * LANDMARKS, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias[:1], -4.0)  # hardly any cell is a face's middle

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look at every cell.

        Args:
            images: (B, 3, H, W) in [-1, 1], sides ÷ 8.

        Returns:
            Logits (B, h, w), and landmarks (B, h, w, 5, 2) in pixels (x, y), from the picture's edge.
        """
        found = self.head(self.body(self.stem(images)))
        scores, offsets = found[:, 0], found[:, 1:].unflatten(1, (LANDMARKS, 2)).permute(0, 3, 4, 1, 2)
        middles = cell_middles(scores.shape[1], scores.shape[2], images.device)
        return scores, offsets * OFFSET_PIXELS + middles[..., None, :]

    @torch.no_grad()
    def find(self, images: Tensor, threshold: float = 0.7) -> list[list[Face]]:
        """Find the faces of each image, the surest first.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            threshold: Least score of a face.
        """
        candidates = [self._candidates(level, threshold) for level in _pyramid(images)]
        return [
            self._merge(image, threshold, *_joined(candidates, index)) for index, image in enumerate(images)
        ]

    def _candidates(self, level: tuple[Tensor, float], threshold: float) -> list[tuple[Tensor, Tensor]]:
        """Return scores (n,) and landmarks (n, 5, 2), in pixels of the whole image, of each image."""
        pictures, scale = level
        logits, landmarks = self(pictures)
        scores = logits.sigmoid()
        peaks = scores == F.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0]
        results = []
        for score, place, peak in zip(scores, landmarks, peaks & (scores > threshold), strict=True):
            sure, points = score[peak], place[peak] / scale
            sane = sane_landmarks(points)
            results.append((sure[sane], points[sane]))
        return results

    def _merge(self, image: Tensor, threshold: float, scores: Tensor, landmarks: Tensor) -> list[Face]:
        if not len(scores):
            return []
        kept = nms(_boxes(landmarks), scores, _IOU)
        scores, landmarks = scores[kept], landmarks[kept]
        for _ in range(_CLOSER_LOOKS):
            again, refined = self._refine(image, landmarks)
            sure = (again > threshold) & sane_landmarks(refined)
            scores, landmarks = torch.minimum(scores, again)[sure], refined[sure]
            if not len(scores):
                return []
        order = scores.argsort(descending=True)
        boxes = _boxes(landmarks)[order]
        kept = order[nms(boxes, scores[order], _IOU)]
        return [
            Face(box, float(score), points - 0.5)
            for box, score, points in zip(_boxes(landmarks[kept]), scores[kept], landmarks[kept], strict=True)
        ]

    def _refine(self, image: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Look at each face once more, upright and at the size that the network sees best.

        Returns:
            Scores (n,), for what only looked like a face does not look like one from near, and landmarks
            (n, 5, 2).
        """
        squares = detector_squares(landmarks)
        across = landmarks[:, 1] - landmarks[:, 0]
        side = squares[:, 2] * (_REFINED_SIDE / _REFINED_FACE)
        roll = torch.atan2(across[:, 1], across[:, 0])
        middle = landmarks.mean(dim=1)
        oriented = torch.cat([middle, side[:, None], roll[:, None]], dim=1)
        crops = cut(image.expand(len(landmarks), -1, -1, -1), oriented, _REFINED_SIDE, border="black")
        logits, places = self(crops)
        logits = logits.masked_fill(~_central(logits), -torch.inf).flatten(1)
        weights = logits.softmax(dim=1)
        points = (weights[:, :, None, None] * places.flatten(1, 2)).sum(dim=1) / _REFINED_SIDE
        corners = square_corners(oriented)
        right, down = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
        placed = corners[:, :1] + points[..., :1] * right[:, None] + points[..., 1:] * down[:, None]
        return logits.amax(dim=1).sigmoid(), placed


def cell_middles(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the middles of cells (h, w, 2), pixels (x, y) from the picture's edge."""
    ys, xs = ((torch.arange(count, device=device) + 0.5) * STRIDE for count in (height, width))
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)


def _central(logits: Tensor) -> Tensor:
    """Return which cells (h, w) lie in the middle of a crop: other faces may be in its corners."""
    middles = cell_middles(logits.shape[1], logits.shape[2], logits.device) / _REFINED_SIDE - 0.5
    return (middles.abs() < 0.25).all(dim=-1)


def _pyramid(images: Tensor) -> list[tuple[Tensor, float]]:
    """Return pictures of falling size, padded to whole cells, and their scale."""
    height, width = images.shape[-2:]
    scale = min(1.0, LONGEST / max(height, width))
    levels = []
    while True:
        size = (max(round(height * scale), 8), max(round(width * scale), 8))
        small = images.float()
        if size != (height, width):
            small = F.interpolate(small, size, mode="bilinear", antialias=True, align_corners=False)
        padded = F.pad(small, (0, -size[1] % STRIDE, 0, -size[0] % STRIDE), mode="replicate")
        levels.append((padded, scale))
        if min(height, width) * scale <= LARGEST:
            return levels
        scale /= 2


def _joined(candidates: list[list[tuple[Tensor, Tensor]]], index: int) -> tuple[Tensor, Tensor]:
    scores, landmarks = zip(*(level[index] for level in candidates), strict=True)
    return torch.cat(scores), torch.cat(landmarks)


def _boxes(landmarks: Tensor) -> Tensor:
    squares = detector_squares(landmarks)
    return torch.cat([squares[:, :2], squares[:, :2] + squares[:, 2:]], dim=1)
