"""Classifier-free guidance over named branches."""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.inversion import predict


@dataclass(frozen=True)
class Guidance:
    """The branches that ε2 runs in one batch, and how they are put together.

    Attributes:
        branches: names, outermost in the batch: (branch, frame) → batch. `("negative", "target")`, or
            `("target",)` at scale 1.
        text: (branches, L, D).
        scale: s in ε̂ = ε_negative + s (ε_target − ε_negative).
    """

    branches: tuple[str, ...]
    text: Tensor
    scale: float

    @classmethod
    def of(cls, target: Tensor, negative: Tensor, scale: float) -> "Guidance":
        """Guidance from `negative` to `target`, each (1, L, D); one branch only where scale is 1."""
        if scale == 1.0:
            return cls(("target",), target, scale)
        return cls(("negative", "target"), torch.cat([negative, target]), scale)

    def unguided(self) -> "Guidance":
        """The target branch alone."""
        return Guidance.of(self.text[-1:], self.text[:1], 1.0)

    def predict(self, unet: UNet2DConditionModel, latents: Tensor, timestep: int) -> Tensor:
        """Guided output (F, C, h, w), fp32, for latents (F, C, h, w); one forward of branches · F."""
        frames = latents.shape[0]
        batch = latents.repeat(len(self.branches), 1, 1, 1)
        text = self.text.repeat_interleave(frames, dim=0)
        outputs = predict(unet, batch, timestep, text).chunk(len(self.branches))
        by_name = dict(zip(self.branches, outputs, strict=True))
        if "negative" not in by_name:
            return by_name["target"]
        return by_name["negative"] + self.scale * (by_name["target"] - by_name["negative"])
