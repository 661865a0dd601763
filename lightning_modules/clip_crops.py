"""Augmentation crops for the image-text encoder of Eq. 6."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.losses import ImageTextEncoder


class CroppedEncoder(nn.Module):
    """Averages image features over the whole image and square crops of it.

    A loss on a single view of a frozen encoder rewards patterns that only that view shows. The crops stay
    the same until `draw` is called, so that images that are compared are seen through the same ones.

    Args:
        encoder: Gives the features.
        crops: How many crops beside the whole image.
        least: Least side of a crop, as a fraction of the image's shorter side.

    Raises:
        ValueError: There are no crops, or none of a sensible size.
    """

    windows: Tensor
    """Place across, place down and size of each crop, (crops, 3) in [0, 1)."""

    def __init__(self, encoder: ImageTextEncoder, crops: int = 4, least: float = 0.8) -> None:
        super().__init__()
        if crops < 1 or not 0 < least <= 1:
            raise ValueError(f"crops must be at least 1 and least in (0, 1], not {crops} and {least}")
        self.encoder = encoder
        self.crops = crops
        self.least = least
        self.draw(torch.Generator().manual_seed(0))

    def draw(self, generator: torch.Generator) -> None:
        """Choose new crops; the generator is on the CPU."""
        self.windows = torch.rand(self.crops, 3, generator=generator)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) in [-1, 1] as unit vectors (B, D); gradients reach the images."""
        height, width = images.shape[-2:]
        features = self.encoder.encode_image(images)
        for across, down, size in self.windows.tolist():
            side = round((self.least + (1 - self.least) * size) * min(height, width))
            left, top = round(across * (width - side)), round(down * (height - side))
            features = features + self.encoder.encode_image(images[..., top : top + side, left : left + side])
        return F.normalize(features, dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts as unit vectors (B, D)."""
        return self.encoder.encode_text(texts)
