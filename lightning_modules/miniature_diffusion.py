"""Trains the miniature's text-to-image diffusion model: U-Net and text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.lightning_modules.miniature_base import Batch, MiniatureModule
from keyface.miniature.captions import VOCABULARY
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.networks.text import build_text_encoder, build_tokenizer
from keyface.miniature.networks.unet import build_scheduler, build_unet

TIMESTEP_BINS = 5


class DiffusionModule(MiniatureModule):
    """v-prediction on the latents of pairs of faces.

    Both faces of a pair get the same noise and timestep, so the phrase in which their captions
    differ is the only thing that explains how their targets differ. Latent cells in which the pair
    differs weigh more: glasses are 2 % of the picture and would else be 2 % of the loss.

    Args:
        autoencoder: Folder of the frozen autoencoder; None takes the packaged one.
        widths: Channels of the U-Net by level.
        text_width: Width of the text encoder.
        dropout: Probability that a pair's captions are empty, for classifier-free guidance.
        pair_weight: Extra weight of the cells that differ within a pair.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    alphas_cumprod: Tensor

    def __init__(
        self,
        autoencoder: str | None = None,
        widths: tuple[int, int, int] = (64, 128, 192),
        text_width: int = 128,
        dropout: float = 0.1,
        pair_weight: float = 3.0,
        lr: float = 1e-3,
        flat: float = 0.6,
    ) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        from keyface.miniature.zoo import WEIGHTS

        folder = WEIGHTS / "base" / "vae" if autoencoder is None else Path(autoencoder)
        self.autoencoder = PatchAutoencoder.from_pretrained(folder, torch_dtype=torch.float32)
        self.autoencoder.requires_grad_(False).eval()
        self.tokenizer = build_tokenizer(VOCABULARY)
        self.text_encoder = build_text_encoder(self.tokenizer, text_width)
        self.unet = build_unet(self.autoencoder.config.latent_channels, 16, widths, text_width)
        self.scheduler = build_scheduler()
        self.register_buffer("alphas_cumprod", self.scheduler.alphas_cumprod.clone(), persistent=False)
        self.dropout, self.pair_weight = dropout, pair_weight

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the weighted v-prediction loss of a batch of pairs."""
        latents = self._encode(batch["image"])
        half = len(latents) // 2
        timesteps = torch.randint(1000, (half,), device=self.device)
        noise = torch.randn_like(latents[:half])
        empty = (torch.rand(half) < self.dropout).repeat(2).tolist()
        texts = ["" if blank else text for blank, text in zip(empty, batch["caption"], strict=True)]
        losses = self._losses(latents, timesteps.repeat(2), noise.repeat(2, 1, 1, 1), texts)
        difference = (latents[:half] - latents[half:]).abs().amax(1, keepdim=True)
        weight = 1 + self.pair_weight * (difference > 0.15).float().repeat(2, 1, 1, 1)
        loss = (losses * weight).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the unweighted loss by timestep bin; one number would hide the noisy end."""
        latents = self._encode(batch["image"])
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        width = 1000 // TIMESTEP_BINS
        for number in range(TIMESTEP_BINS):
            timesteps = torch.full((len(latents),), number * width + width // 2, device=self.device)
            loss = self._losses(latents, timesteps, noise, batch["caption"]).mean()
            self.log(f"val/loss_t{number * width + width // 2}", loss, batch_size=len(latents))

    def export(self, folder: Path) -> None:
        """Writes U-Net, text encoder, tokenizer and scheduler in diffusers' layout, in half precision."""
        self.unet.to(torch.float16).save_pretrained(folder / "unet", safe_serialization=True)
        self.text_encoder.to(torch.float16).save_pretrained(folder / "text_encoder", safe_serialization=True)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.scheduler.save_pretrained(folder / "scheduler")
        self.unet.to(torch.float32)
        self.text_encoder.to(torch.float32)

    def _encode(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            latents: Tensor = self.autoencoder.encode(images).latent_dist.mode()
        scaled: Tensor = latents * self.autoencoder.config.scaling_factor
        return scaled

    def _losses(self, latents: Tensor, timesteps: Tensor, noise: Tensor, texts: list[str]) -> Tensor:
        """Returns the squared error of v by element, (B, C, h, w)."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        context = self.text_encoder(tokens.to(self.device)).last_hidden_state
        alphas = self.alphas_cumprod[timesteps][:, None, None, None]
        signal, deviation = alphas.sqrt(), (1 - alphas).sqrt()
        noisy = signal * latents + deviation * noise
        velocity = signal * noise - deviation * latents
        predicted: Tensor = self.unet(noisy, timesteps, context).sample
        return F.mse_loss(predicted, velocity, reduction="none")
