"""Trains the miniature's autoencoder."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.lightning_modules.miniature.base import Batch, MiniatureModule, half_precision
from keyface.miniature.measure import mean_psnr
from keyface.miniature.networks.autoencoder import PatchAutoencoder


class DecodingModule(MiniatureModule):
    """What trains the decoder of a `PatchAutoencoder`: its loss, its validation and its export."""

    network: PatchAutoencoder

    def decoding_loss(self, latents: Tensor, images: Tensor) -> Tensor:
        """Return L1 + MSE between images (B, 3, H, W) and their decoded latents (B, C, h, w), and log it."""
        decoded = self.network.decode(latents).sample
        loss = F.l1_loss(decoded, images) + F.mse_loss(decoded, images)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the PSNR in dB of the decoder and of the PCA alone."""
        images = batch["image"]
        latents = self.network.encode(images).latent_dist.mode()
        for name, decoded in (
            ("psnr", self.network.decode(latents).sample),
            ("psnr_linear", self.network.decode_linear(latents)),
        ):
            self.log(f"val/{name}", mean_psnr(decoded, images), prog_bar=True, batch_size=len(images))

    def export(self, folder: Path) -> None:
        """Write the autoencoder as a diffusers folder, in half precision."""
        with half_precision(self.network):
            self.network.save_pretrained(folder, safe_serialization=True)


class AutoencoderModule(DecodingModule):
    """Fits the encoder's principal components, then trains the decoder.

    Args:
        latent_channels: Components that are kept.
        patch_size: Side of a patch, the down-sampling factor.
        unit_components: How many of the first components have unit variance on average; None takes all.
        width: Decoder channels at latent resolution.
        latent_noise: Standard deviation of noise on the latents of every second batch, so that
            the decoder forgives what a diffusion model leaves.
        component_images: Images that the principal components are found on.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    def __init__(
        self,
        latent_channels: int = 12,
        patch_size: int = 8,
        unit_components: int | None = None,
        width: int = 128,
        latent_noise: float = 0.05,
        component_images: int = 1024,
        lr: float = 1e-3,
        flat: float = 0.5,
    ) -> None:
        super().__init__(lr=lr, weight_decay=0.0, flat=flat)
        self.save_hyperparameters()
        self.network = PatchAutoencoder(
            latent_channels=latent_channels,
            patch_size=patch_size,
            width=width,
            unit_components=unit_components,
        )
        self.latent_noise, self.component_images = latent_noise, component_images

    def on_fit_start(self) -> None:
        """Find the principal components on the first training batches, unless a checkpoint has them."""
        if bool(self.network.components.any()):
            return
        images: Tensor = self.trainer.datamodule.first_pictures(self.component_images)  # type: ignore[attr-defined]
        self.network.fit_components(images.to(self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the latents of a batch, every second one with noise."""
        latents = self.network.encode(batch["image"]).latent_dist.mode()
        if batch_idx % 2:
            latents = latents + self.latent_noise * torch.randn_like(latents)
        return self.decoding_loss(latents, batch["image"])
