"""Classifier-free guidance over named branches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.prediction import Timestep, predict

if TYPE_CHECKING:
    from keyface.diffusion.additions.control import Control


@dataclass(frozen=True)
class Guidance:
    """The prompts that a U-Net is asked with, and how its outputs are put together.

    Attributes:
        target: Text (1, L, D) or (B, L, D) to move towards.
        negative: Text to move away from, likewise; None for no guidance.
        scale: s of `ε̂ = ε_negative + s (ε_target − ε_negative)`; a tensor that broadcasts to the latents
            guides each place by its own.
        limit: How far a place may be pushed beyond ε_target, as the root mean square over channels; None
            for no limit.
    """

    target: Tensor
    negative: Tensor | None = None
    scale: float | Tensor = 1.0
    limit: float | None = None

    @classmethod
    def of(cls, target: Tensor, negative: Tensor, scale: float, limit: float | None = None) -> "Guidance":
        """Return the guidance from `negative` to `target`; without the negative branch where scale is 1."""
        return cls(target) if scale == 1.0 else cls(target, negative, scale, limit)

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches, as `predict` lays them in a batch: (branch, frame) → batch."""
        return ("target",) if self.negative is None else ("negative", "target")

    def unguided(self) -> "Guidance":
        """Return the target branch alone."""
        return Guidance(self.target)

    def combine(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return `ε_negative + s (ε_target − ε_negative)` of the branches' outputs by name.

        Where the two prompts differ most, a scale that is right elsewhere goes past all colours that the
        data has: a blond beard turns green. With a limit such places are pushed in the same direction, less
        far.
        """
        if "negative" not in outputs:
            return outputs["target"]
        difference = outputs["target"] - outputs["negative"]
        if self.limit is None:
            return outputs["negative"] + self.scale * difference
        push = (self.scale - 1.0) * difference
        size = push.square().mean(dim=1, keepdim=True).sqrt()
        return outputs["target"] + push * (self.limit / size.clamp_min(self.limit))

    def outputs(
        self,
        unet: UNet2DConditionModel,
        latents: Tensor,
        timestep: Timestep,
        control: "Control | None" = None,
    ) -> dict[str, Tensor]:
        """Return each branch's output (B, C, h, w), fp32, by name; one forward of branches · B latents."""
        texts = [self.target] if self.negative is None else [self.negative, self.target]
        batch = latents.repeat(len(texts), 1, 1, 1)
        text = torch.cat([each.expand(len(latents), -1, -1) for each in texts])
        if isinstance(timestep, Tensor):
            timestep = timestep.repeat(len(texts))
        found = predict(unet, batch, timestep, text, control).chunk(len(texts))
        return dict(zip(self.branches, found, strict=True))

    def predict(
        self,
        unet: UNet2DConditionModel,
        latents: Tensor,
        timestep: Timestep,
        control: "Control | None" = None,
    ) -> Tensor:
        """Return the guided output (B, C, h, w), fp32; one forward of branches · B latents."""
        return self.combine(self.outputs(unet, latents, timestep, control))

    def predict_learning(self, unet: UNet2DConditionModel, latents: Tensor, timestep: Timestep) -> Tensor:
        """Return the guided output (B, C, h, w), fp32, with a gradient through the target branch alone.

        What a branch learns, it learns through its own prompt. Each branch takes a forward of its own. What
        is computed again in the backward pass is the U-Net's own affair (`enable_gradient_checkpointing`).
        """
        found = {"target": predict(unet, latents, timestep, self.target)}
        if self.negative is not None:
            with torch.no_grad():
                found["negative"] = predict(unet, latents, timestep, self.negative)
        return self.combine(found)
