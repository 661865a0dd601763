"""A tiny YOLO that finds faces."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms

from keyface.faces.face_api.layers import SeparableConv, max_pool_same, normalize
from keyface.faces.face_api.weights import FaceApiNetwork

MEAN = (117.001, 114.697, 97.404)
ANCHORS = (
    (1.603231, 2.094468),
    (6.041143, 7.080126),
    (2.882459, 3.518061),
    (4.266906, 5.178857),
    (9.041765, 10.66308),
)
"""Width and height of the boxes that the network corrects, cells."""

SIDES = (224, 416)
"""Input sizes that are tried in this order until a face is found: large faces are found in the small one."""

_SLOPE = 0.1
_IOU = 0.4


class Boxes(NamedTuple):
    """What was found in one image, the surest first.

    Attributes:
        corners: (n, 4) pixels: left, top, right, bottom; may reach over the border.
        scores: (n,) in (0, 1).
    """

    corners: Tensor
    scores: Tensor


class TinyFaceDetector(FaceApiNetwork):
    """Finds faces."""

    MODEL = "tiny_face_detector_model"

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 3)
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            SeparableConv(16 * 2**level, 32 * 2**level) for level in range(5)
        )
        self.conv8 = nn.Conv2d(512, 5 * len(ANCHORS), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw boxes (B, cells, cells, anchors, 5) of square images (B, 3, S, S) in [-1, 1], S ÷ 32."""
        out = F.leaky_relu(self.conv0(normalize(images, MEAN)), _SLOPE)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            out = F.leaky_relu(layer(max_pool_same(out, 2, 2)), _SLOPE)
        raw: Tensor = self.conv8(max_pool_same(out, 2, 1)).permute(0, 2, 3, 1)
        return raw.reshape(*raw.shape[:3], len(ANCHORS), 5)

    @torch.no_grad()
    def detect(self, images: Tensor, threshold: float = 0.5, sides: tuple[int, ...] = SIDES) -> list[Boxes]:
        """Find the faces of each image.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            threshold: Least score of a face.
            sides: Input sizes, multiples of 32, tried in this order for the images without a face so far.

        Returns:
            One `Boxes` an image; empty where no face was found.
        """
        nothing = Boxes(images.new_zeros(0, 4), images.new_zeros(0))
        found = [nothing] * len(images)
        for side in sides:
            left = [index for index, boxes in enumerate(found) if not len(boxes.scores)]
            if left:
                for index, boxes in zip(left, self._at(images[left], side, threshold), strict=True):
                    found[index] = boxes
        return found

    def _at(self, images: Tensor, side: int, threshold: float) -> list[Boxes]:
        height, width = images.shape[-2:]
        longest = max(height, width)
        # Black on the right or at the bottom makes the image square.
        square = F.pad(images.float(), (0, longest - width, 0, longest - height), value=-1.0)
        raw = self(F.interpolate(square, (side, side), mode="bilinear", antialias=True, align_corners=False))
        cells = raw.shape[1]
        steps = torch.arange(cells, device=raw.device, dtype=raw.dtype)
        anchors = torch.tensor(ANCHORS, device=raw.device, dtype=raw.dtype)
        xs = (raw[..., 0].sigmoid() + steps.view(1, 1, -1, 1)) * (longest / cells)
        ys = (raw[..., 1].sigmoid() + steps.view(1, -1, 1, 1)) * (longest / cells)
        halves = raw[..., 2:4].exp() * anchors * (longest / cells / 2)
        corners = torch.stack(
            [xs - halves[..., 0], ys - halves[..., 1], xs + halves[..., 0], ys + halves[..., 1]], dim=-1
        ).flatten(1, 3)
        scores = raw[..., 4].sigmoid().flatten(1)
        results = []
        for boxes, values in zip(corners, scores, strict=True):
            sure = values > threshold
            kept = nms(boxes[sure], values[sure], _IOU)
            results.append(Boxes(boxes[sure][kept], values[sure][kept]))
        return results
