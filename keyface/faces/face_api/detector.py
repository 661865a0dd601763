"""A tiny YOLO that finds faces."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.face_api.boxes import STEP, Boxes, keep_best, scaled
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
"""Lengths of the input's longer side, tried in this order until a face is found: large ones are found in the
first. Faces need about 35 pixels there; a larger input would find them in textures, too."""

_SLOPE = 0.1


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
        """Return raw boxes (B, rows, columns, anchors, 5) of images (B, 3, H, W) in [-1, 1], H and W ÷ 32."""
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
            sides: Lengths of the input's longer side, multiples of 32, tried in this order for the images
                without a face so far.

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
        small, factor = scaled(images, side)
        raw = self(small)
        rows, columns = (torch.arange(n, device=raw.device, dtype=raw.dtype) for n in raw.shape[1:3])
        anchors = torch.tensor(ANCHORS, device=raw.device, dtype=raw.dtype)
        cell = STEP * factor
        xs = (raw[..., 0].sigmoid() + columns.view(1, 1, -1, 1)) * cell
        ys = (raw[..., 1].sigmoid() + rows.view(1, -1, 1, 1)) * cell
        halves = raw[..., 2:4].exp() * anchors * (cell / 2)
        corners = torch.stack(
            [xs - halves[..., 0], ys - halves[..., 1], xs + halves[..., 0], ys + halves[..., 1]], dim=-1
        ).flatten(1, 3)
        scores = raw[..., 4].sigmoid().flatten(1)
        return [keep_best(*each, threshold) for each in zip(corners, scores, strict=True)]
