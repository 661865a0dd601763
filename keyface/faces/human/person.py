"""Where the person is: MediaPipe's selfie segmentation."""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.human.squares import Pyramid
from keyface.faces.tfjs import GraphNetwork

SIZE = 256


class PersonNetwork(nn.Module):
    """Masks of people.

    Args:
        network: Gives the probability of each pixel.
    """

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of human's files, see `GraphNetwork.load`."""
        return cls(GraphNetwork.load(folder / "selfie.json", ("activation_10",)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return masks (B, H, W) in [0, 1] of images (B, 3, H, W) in [-1, 1]."""
        height, width = images.shape[-2:]
        level = [Pyramid(image.float()).level(min(height, width) / SIZE)[1] for image in images]
        small = F.interpolate(torch.cat(level), (SIZE, SIZE), mode="bilinear", align_corners=False)
        (mask,) = self.network((small + 1) / 2)
        large = F.interpolate(mask.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False)
        return large[:, 0]
