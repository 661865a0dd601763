"""Trains the miniature's decoder on, to forgive what the base's U-Net leaves in its latents."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.sampling import denoise
from keyface.lightning_modules.miniature.autoencoder import DecodingModule
from keyface.lightning_modules.miniature.base import Batch
from keyface.miniature import zoo
from keyface.miniature.networks.autoencoder import PatchAutoencoder


class DecoderModule(DecodingModule):
    """Trains the decoder alone, on latents as encoded, with noise, and as the base's U-Net makes them.

    The encoder stays, so all networks that were trained on its latents stay good. One third of each batch is
    decoded from the pictures' latents, one third from these with noise, and one third from these after noise
    was added and taken away again by a few steps of DDIM with the picture's caption. What a U-Net gets wrong
    there, such as hatching where skin is smooth, the decoder learns to leave out.

    Args:
        base: Folder of the base with its autoencoder, where training begins; None takes the packaged one.
        latent_noise: Greatest standard deviation of noise on latents, drawn anew for each picture.
        grid_steps: Steps of the grid whose levels are denoised.
        most_noise: Highest level that noise is added up to, drawn anew for each batch.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.

    Raises:
        ValueError: `most_noise` is no level of the grid.
    """

    def __init__(
        self,
        base: str | None = None,
        latent_noise: float = 0.3,
        grid_steps: int = 10,
        most_noise: int = 5,
        lr: float = 5e-4,
        flat: float = 0.4,
    ) -> None:
        if not 1 <= most_noise <= grid_steps:
            raise ValueError(f"most_noise {most_noise}: from 1 to the grid's {grid_steps} steps")
        super().__init__(lr=lr, weight_decay=0.0, flat=flat)
        self.save_hyperparameters()
        folder = zoo.WEIGHTS / "base" if base is None else Path(base)
        backbone = Backbone.from_folder(folder, autoencoder=PatchAutoencoder, dtype=torch.float32)
        self.network = backbone.vae
        self.unet, self.text_encoder = backbone.unet, backbone.text_encoder
        for frozen in (self.unet, self.text_encoder):
            frozen.requires_grad_(False)
        self._backbone = backbone
        self.latent_noise, self.grid_steps, self.most_noise = latent_noise, grid_steps, most_noise

    def train(self, mode: bool = True) -> Self:
        """Keep the base as it is."""
        super().train(mode)
        self.unet.eval()
        self.text_encoder.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch's three thirds."""
        images = batch["image"]
        with torch.no_grad():
            latents = self.network.encode(images).latent_dist.mode()
            _, noisy, denoised = latents.tensor_split(3)
            level = self.latent_noise * torch.rand(len(noisy), 1, 1, 1, device=self.device)
            noisy += level * torch.randn_like(noisy)
            if len(denoised):
                denoised.copy_(self._denoised(denoised, batch["caption"][len(images) - len(denoised) :]))
        return self.decoding_loss(latents, images)

    def _denoised(self, latents: Tensor, captions: list[str]) -> Tensor:
        """Add noise to latents (B, C, h, w), and take it away again with their captions."""
        grid = self._backbone.grid(self.grid_steps)
        level = int(torch.randint(1, self.most_noise + 1, ()))
        alpha = grid.alphas[level]
        noisy = alpha**0.5 * latents + (1 - alpha) ** 0.5 * torch.randn_like(latents)
        return denoise(self.unet, grid, noisy, self._backbone.encode_prompts(captions), grid.steps, level)
