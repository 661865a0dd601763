"""A single-shot detector on MobileNet that finds faces."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from keyface.faces.face_api.boxes import STEP, Boxes, joined, keep_best, scaled
from keyface.faces.face_api.layers import ConvSame, conv_same
from keyface.faces.face_api.weights import FaceApiNetwork
from keyface.faces.squares import crop_squares, squares_around

SIDE = 512
"""Side that the published anchors are for, pixels."""

GLANCE = 768
"""Most pixels of the longer side that are glanced at: a face of 40 in a frame of 1280 is 24 wide then."""

CLOSE = 128
"""Side of the crop for a close look, pixels; a face fills half of it."""

_MARGIN = 2.0
_MOST = 32
"""Candidates of an image that are looked at closely."""

CELLS = (32, 16, 8, 4, 2, 1)
"""Cells a side of each level of that input: a cell is 16 pixels wide, then 32, and so on."""

_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_HALVING = (2, 4, 6, 12)
_FINEST = 11
"""The depthwise layers that halve, and the layer whose features the finest level reads."""

_EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))
_EPSILON = 0.0010000000474974513


class Candidates(NamedTuple):
    """What the network says of each anchor of each image.

    Attributes:
        corners: (B, n, 4) pixels of the input: left, top, right, bottom.
        scores: (B, n) in (0, 1).
    """

    corners: Tensor
    scores: Tensor


class ConvClipped(ConvSame):
    """A convolution whose results are cut to 0 to 6."""

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        return super().forward(data).clamp_(0, 6)


class DepthwiseClipped(nn.Module):
    """A 3×3 convolution of each channel by itself, batch norm, and a cut to 0 to 6."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        self.norm = nn.ParameterDict({name: torch.ones(channels) for name in names})

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        norm = self.norm
        scale = norm["gamma"] / (norm["moving_variance"] + _EPSILON).sqrt()
        weight, bias = (
            self.depthwise.weight * scale.view(-1, 1, 1, 1),
            norm["beta"] - norm["moving_mean"] * scale,
        )
        return conv_same(data, weight, bias, self.stride, self.depthwise.groups).clamp_(0, 6)


class SsdFaceDetector(FaceApiNetwork):
    """Finds faces; runs on inputs of any size, in which a face should be about 20 pixels wide or more."""

    MODEL = "ssd_mobilenetv1_model"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict({"conv0_pointwise": ConvClipped(3, _WIDTHS[0], 3, 2)})
        for layer, (inside, outside) in enumerate(pairwise(_WIDTHS), start=1):
            stride = 2 if layer in _HALVING else 1
            self.features[f"conv{layer}_depthwise"] = DepthwiseClipped(inside, stride)
            self.features[f"conv{layer}_pointwise"] = ConvClipped(inside, outside, 1)
        self.extra = nn.ModuleDict()
        inside = _WIDTHS[-1]
        for level, (middle, outside) in enumerate(_EXTRA):
            self.extra[f"conv{2 * level}_pointwise"] = ConvClipped(inside, middle, 1)
            self.extra[f"conv{2 * level + 1}_pointwise"] = ConvClipped(middle, outside, 3, 2)
            inside = outside
        read = (_WIDTHS[_FINEST], _WIDTHS[-1], *(outside for _, outside in _EXTRA))
        counts = (3, *(6 for _ in read[1:]))
        self.boxes = nn.ModuleList(nn.Conv2d(each, 4 * n, 1) for each, n in zip(read, counts, strict=True))
        self.classes = nn.ModuleList(nn.Conv2d(each, 3 * n, 1) for each, n in zip(read, counts, strict=True))
        anchors = sum(cells**2 * n for cells, n in zip(CELLS, counts, strict=True))
        self.anchors = nn.ParameterDict({"boxes": torch.zeros(1, anchors, 4)})
        self._counts = counts

    @classmethod
    def parts_of(cls, names: list[str]) -> dict[str, str]:
        """Return the network's part for each tensor of the file, but for TensorFlow's own constants."""
        parts = {name: _part_of(name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

    def forward(self, images: Tensor) -> Candidates:
        """Return a box and a score for each anchor of images (B, 3, H, W) in [-1, 1], H and W ÷ 32."""
        raw_boxes, raw_classes = zip(*self._levels(images), strict=True)
        anchors = torch.cat([self._anchors(level, each) for level, each in enumerate(raw_boxes)])
        boxes = torch.cat([each.permute(0, 2, 3, 1).reshape(len(images), -1, 4) for each in raw_boxes], 1)
        classes = torch.cat([each.permute(0, 2, 3, 1).reshape(len(images), -1, 3) for each in raw_classes], 1)
        # TensorFlow's order is y before x; of three classes the second is a face.
        sizes = anchors[:, 2:] - anchors[:, :2]
        middles = anchors[:, :2] + sizes / 2 + boxes[..., :2] / 10 * sizes
        halves = (boxes[..., 2:] / 5).exp() * sizes / 2
        corners = torch.cat([middles - halves, middles + halves], dim=-1)
        return Candidates(corners[..., [1, 0, 3, 2]], classes[..., 1].sigmoid())

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        threshold: float = 0.5,
        sides: tuple[int, ...] | None = None,
        glance: float = 0.2,
        batch: int = 4,
    ) -> list[Boxes]:
        """Find the faces of each image: a glance at all of it, then a close look at each candidate.

        The close look brings every candidate to the one size that the network knows best. It finds small
        faces surely, places boxes better, and drops most of what only looked like a face at one scale.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            threshold: Least score of a face in the close look.
            sides: Lengths of the image's longer side at the glance's levels, multiples of 32; what suits the
                images if None. More than one make a pyramid.
            glance: Least score of a candidate.
            batch: Images that are glanced at together.

        Returns:
            One `Boxes` an image; empty where no face was found.
        """
        sides = sides or (min(max(max(images.shape[-2:]) // STEP * STEP, SIDE), GLANCE),)
        found = []
        for chunk in torch.split(images, batch):
            levels = [self._at(chunk, side, glance) for side in sides]
            for image, candidates in zip(chunk, joined(levels), strict=True):
                found.append(self._closely(image, candidates.corners[:_MOST], threshold))
        return found

    def _at(self, images: Tensor, side: int, threshold: float) -> list[Boxes]:
        small, factor = scaled(images, side)
        corners, scores = self(small)
        return [keep_best(*each, threshold) for each in zip(corners * factor, scores, strict=True)]

    def _closely(self, image: Tensor, corners: Tensor, threshold: float) -> Boxes:
        if not len(corners):
            return Boxes(corners, corners.new_zeros(0))
        squares = squares_around(corners)
        sides = squares[:, 2:]
        squares = torch.cat([squares[:, :2] - sides * (_MARGIN - 1) / 2, sides * _MARGIN], dim=1)
        crops = crop_squares(image.expand(len(squares), -1, -1, -1), squares, CLOSE)
        inside, scores = self(crops)
        middle = CLOSE / 2
        own = (inside[..., :2] < middle).all(dim=-1) & (inside[..., 2:] > middle).all(dim=-1)
        best = (scores * own).argmax(dim=1, keepdim=True)  # the face in the middle, not its neighbour
        chosen = inside.gather(1, best[..., None].expand(-1, -1, 4))[:, 0]
        placed = squares[:, :2].repeat(1, 2) + chosen * (squares[:, 2:] / CLOSE)
        return keep_best(placed, (scores * own).gather(1, best)[:, 0], threshold)

    def _levels(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        out, read = images.float(), []
        for name, layer in self.features.items():
            out = layer(out)
            if name == f"conv{_FINEST}_pointwise":
                read.append(out)
        read.append(out)
        for number, layer in enumerate(self.extra.values()):
            out = layer(out)
            if number % 2:
                read.append(out)
        heads = zip(read, self.boxes, self.classes, strict=True)
        return [(boxes(data), classes(data)) for data, boxes, classes in heads]

    def _anchors(self, level: int, raw: Tensor) -> Tensor:
        """Lay a level's anchors over an input of another size: (n, 4) pixels, y before x."""
        count, cell = self._counts[level], SIDE / CELLS[level]
        start = sum(cells**2 * n for cells, n in zip(CELLS[:level], self._counts[:level], strict=True))
        first: Tensor = self.anchors["boxes"][0, start : start + count] * SIDE  # those of the upper left cell
        ys = torch.arange(raw.shape[-2], device=raw.device) * cell
        xs = torch.arange(raw.shape[-1], device=raw.device) * cell
        shifts = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), dim=-1).repeat(1, 1, 2)
        laid: Tensor = (shifts[:, :, None] + first).reshape(-1, 4)
        return laid


_HEADS = {"BoxEncodingPredictor": "boxes", "ClassPredictor": "classes"}
_HOMES = {"MobilenetV1": "features", "Prediction": "extra"}
_LASTS = {
    "weights": "weight",
    "biases": "bias",
    "depthwise_weights": "depthwise.weight",
    "convolution_bn_offset": "bias",
}


def _part_of(name: str) -> str | None:
    if name == "Output/extra_dim":
        return "anchors.boxes"
    match name.split("/"):
        case ["Prediction", layer, head, last] if head in _HEADS:
            return f"{_HEADS[head]}.{layer.removeprefix('BoxPredictor_')}.{_LASTS[last]}"
        case [home, layer, "BatchNorm", last] if home in _HOMES:
            return f"{_HOMES[home]}.{layer.replace('Conv2d_', 'conv')}.norm.{last}"
        case [home, layer, last] if home in _HOMES and last in _LASTS:
            return f"{_HOMES[home]}.{layer.replace('Conv2d_', 'conv')}.{_LASTS[last]}"
    return None
