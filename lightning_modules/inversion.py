"""Latents and inverted latents for shards, by `lightning predict`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inverted_images import invert_images, kept_levels
from keyface.diffusion.prediction import predict
from keyface.lightning_modules.tuning.memory import StepMemory, measure_step
from keyface.models.backbones import find_backbone


class InversionModule(LightningModule):
    """Encodes images and inverts their latents with the frozen base and their captions (no guidance).

    Args:
        backbone: What `keyface.models.backbones.find_backbone` takes: `"miniature"`, a name of the
            catalogue, a folder, a safetensors file.
        steps: Steps of the DDIM grid.
        levels: How many noise levels of each image are kept, spread evenly.
        lowest: The levels lie above this fraction of the grid.
        highest: The noisiest level, as a fraction of the grid; 1 is pure noise.
        fixed_point_iterations: Corrections of each inversion step.

    Example:
        `lightning predict -c configs/invert.yaml --trainer.devices 8`
    """

    def __init__(
        self,
        backbone: str | Backbone = "miniature",
        steps: int = 50,
        levels: int = 8,
        lowest: float = 0.0,
        highest: float = 1.0,
        fixed_point_iterations: int = 1,
    ) -> None:
        super().__init__()
        self.kept = kept_levels(steps, levels, lowest, highest)
        self.backbone = find_backbone(backbone)
        self.networks = nn.ModuleList([self.backbone.vae, self.backbone.unet, self.backbone.text_encoder])
        self.networks.requires_grad_(False).eval()
        self.steps = steps
        self.fixed_point_iterations = fixed_point_iterations
        self.name = backbone if isinstance(backbone, str) else "given"

    def settings(self) -> dict[str, Any]:
        """Return what decides the result, for the shards' index."""
        return {
            "backbone": self.name,
            "steps": self.steps,
            "levels": self.kept,
            "fixed_point_iterations": self.fixed_point_iterations,
        }

    def member_bytes(self, side: int) -> int:
        """Return the bytes of the latent and the inverted ones, fp32, and of the file's header."""
        values = self.backbone.latent_channels * (side // self.backbone.downscale) ** 2
        return 4 * values * (1 + len(self.kept)) + 1024

    def step_memory(
        self, images: int, side: int, context: Callable[[], AbstractContextManager[Any]]
    ) -> StepMemory:
        """Return what a batch takes beside the weights: encoder or one step; see `measure_step`."""
        backbone, device, count = self.backbone, self.device, len(self.kept)
        cells, width = side // backbone.downscale, backbone.unet.config.cross_attention_dim

        def step() -> None:
            backbone.encode_images(torch.empty(images, 3, side, side, device=device))
            latents = torch.empty(images, backbone.latent_channels, cells, cells, device=device)
            kept = latents.expand(count, -1, -1, -1, -1).clone()
            predict(
                backbone.unet, latents, 0, torch.empty(images, backbone.text_length, width, device=device)
            )
            del kept

        return measure_step(step, self, context)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor | list[str]]:
        """Return one batch's `key` and the fields of `keyface.diffusion.inverted_images.InvertedImages`."""
        found = invert_images(
            self.backbone,
            batch["image"],
            batch["caption"],
            self.steps,
            self.kept,
            self.fixed_point_iterations,
        )
        return {"key": batch["key"], **found._asdict()}
