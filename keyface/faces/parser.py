"""A face parser: which of CelebAMask-HQ's 19 classes each pixel shows, for images that bring no mask."""

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.celeba import REGION_IDS, REGIONS

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class FaceParser(nn.Module):
    """A SegFormer that was trained on CelebAMask-HQ; frozen.

    Args:
        network: transformers' `SegformerForSemanticSegmentation`.
        size: Side that images are resized to, pixels.

    Raises:
        ValueError: The network names other classes than CelebAMask-HQ's.
    """

    order: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, size: int = 512) -> None:
        super().__init__()
        names = [str(network.config.id2label[index]) for index in range(network.config.num_labels)]
        if sorted(names) != sorted(REGIONS):
            other = sorted(set(names) ^ set(REGIONS))
            raise ValueError(f"no face parser of CelebAMask-HQ's classes: {', '.join(other[:4])} differ")
        self.network = network.eval().requires_grad_(False)
        self.size = size
        order = torch.tensor([REGION_IDS[name] for name in names])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the folder that `keyface weights get face-parser` made; weights are safetensors only.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: It is another network.
        """
        from transformers import SegformerForSemanticSegmentation  # slow to import

        folder = Path(folder)
        missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {', '.join(missing)}; run `keyface weights get face-parser`"
            )
        return cls(SegformerForSemanticSegmentation.from_pretrained(folder, use_safetensors=True))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Label pixels.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].

        Returns:
            (B, H, W) uint8, indices into `keyface.celeba.REGIONS`.
        """
        square = F.interpolate(
            images.float(), (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
        )
        logits = self.network(((square + 1) / 2 - self.mean) / self.std).logits
        large = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        return self.order[large.argmax(dim=1)].to(torch.uint8)
