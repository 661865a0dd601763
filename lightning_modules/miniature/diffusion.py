"""Trains the miniature's text-to-image diffusion model: U-Net and text encoder."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from keyface.lightning_modules.miniature.base import Batch, MiniatureModule, half_precision
from keyface.lightning_modules.objectives.pair_cells import differing, over, relative
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.networks.text import build_text_encoder, build_tokenizer, tokenize
from keyface.miniature.networks.unet import FullPrecisionAttention, build_scheduler, build_unet
from keyface.miniature.population.captions import VOCABULARY

LATENT_SIDE = 16
"""Rows and columns of the latents."""

TIMESTEP_BINS = 5


class DiffusionModule(MiniatureModule):
    """v-prediction on the latents of pairs of faces.

    Both faces of a pair get the same noise and timestep, so the phrase in which their captions
    differ is the only thing that explains how their targets differ. The loss has three parts:

    - the squared error of v, all cells alike;
    - the same over the cells in which a pair differs, averaged pair by pair, since small edits such as
      glasses or a smile would hardly count in the first part;
    - the squared error of the *difference* of v within a pair. What nobody can predict (who it is, the
      background) is the same on both sides and cancels, so this part sees the phrase's effect almost
      without noise: on the cells that differ it teaches the edit, on all others that there is none.
      It is relative to the size of the difference, so that a smile counts as much as black hair.

    Args:
        autoencoder: Folder of the frozen autoencoder; None takes the packaged one.
        widths: Channels of the U-Net by level.
        text_width: Width of the text encoder.
        dropout: Probability that a pair's captions are empty, for classifier-free guidance.
        pair_weight: Weight of the error over the cells that differ within a pair.
        contrast_weight: Weight of the error of the difference within a pair.
        noisy_share: Share of the timesteps that are drawn from `noisy_from` up; the rest is drawn from all.
        noisy_from: Timestep at which that share begins, in [0, 1000).
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.

    Raises:
        FileNotFoundError: There is no autoencoder in its folder.
    """

    alphas_cumprod: Tensor
    empty_tokens: Tensor

    def __init__(
        self,
        autoencoder: str | None = None,
        widths: tuple[int, int, int] = (64, 128, 192),
        text_width: int = 128,
        dropout: float = 0.1,
        pair_weight: float = 0.5,
        contrast_weight: float = 0.5,
        noisy_share: float = 0.5,
        noisy_from: int = 700,
        lr: float = 1e-3,
        flat: float = 0.6,
    ) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        from keyface.miniature.zoo import WEIGHTS

        folder = WEIGHTS / "base" / "vae" if autoencoder is None else Path(autoencoder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"no autoencoder at {folder}; train one with configs/miniature/autoencoder.yaml"
            )
        self.autoencoder = PatchAutoencoder.from_pretrained(folder, torch_dtype=torch.float32)
        self.autoencoder.requires_grad_(False).eval()
        self.tokenizer = build_tokenizer(VOCABULARY)
        self.text_encoder = build_text_encoder(self.tokenizer, text_width)
        self.unet = build_unet(self.autoencoder.config.latent_channels, LATENT_SIDE, widths, text_width)
        self.scheduler = build_scheduler()
        self.register_buffer("alphas_cumprod", self.scheduler.alphas_cumprod.clone(), persistent=False)
        self.register_buffer("empty_tokens", tokenize(self.tokenizer, [""]), persistent=False)
        self.dropout, self.noisy_share, self.noisy_from = dropout, noisy_share, noisy_from
        self.pair_weight, self.contrast_weight = pair_weight, contrast_weight

    def on_fit_start(self) -> None:
        """Choose the attention that is fast where the training runs; the weights are the same."""
        if self.device.type == "cpu":
            self.unet.set_attn_processor(FullPrecisionAttention())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of pairs."""
        latents = self._encode(batch["image"])
        half = len(latents) // 2
        # One draw from each of `half` equal parts of [0, 1): the loss varies with t more than with
        # anything else.
        position = (torch.arange(half, device=self.device) + torch.rand(half, device=self.device)) / half
        timesteps = spread_timesteps(position, self.noisy_share, self.noisy_from)
        noise = torch.randn_like(latents[:half])
        tokens = self._tokens(batch)
        empty = torch.rand(half, device=self.device) < self.dropout
        tokens = torch.where(empty.repeat(2)[:, None], self.empty_tokens, tokens)
        errors = self._errors(latents, timesteps.repeat(2), noise.repeat(2, 1, 1, 1), tokens)
        differs = differing(latents[:half], latents[half:])
        parts = pair_losses(errors, differs, (latents[:half] - latents[half:]).square().mean(1))
        plain, pair, contrast = parts.plain.mean(), parts.pair.mean(), (parts.contrast * ~empty).mean()
        loss = plain + self.pair_weight * pair + self.contrast_weight * contrast
        self.log_dict({"train/plain": plain, "train/pair": pair, "train/contrast": contrast}, prog_bar=True)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the unweighted loss by timestep bin; one number would hide the noisy end."""
        latents = self._encode(batch["image"])
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        width = 1000 // TIMESTEP_BINS
        for number in range(TIMESTEP_BINS):
            timesteps = torch.full((len(latents),), number * width + width // 2, device=self.device)
            loss = self._errors(latents, timesteps, noise, self._tokens(batch)).square().mean()
            self.log(f"val/loss_t{number * width + width // 2}", loss, batch_size=len(latents))

    def export(self, folder: Path) -> None:
        """Write U-Net, text encoder, tokenizer and scheduler as diffusers does, in half precision."""
        with half_precision(self.unet, self.text_encoder):
            self.unet.save_pretrained(folder / "unet", safe_serialization=True)
            self.text_encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.scheduler.save_pretrained(folder / "scheduler")

    def _encode(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            latents: Tensor = self.autoencoder.encode(images).latent_dist.mode()
        scaled: Tensor = latents * self.autoencoder.config.scaling_factor
        return scaled

    def _tokens(self, batch: Batch) -> Tensor:
        """Return the captions' token ids, (B, 64), from the data where they are there."""
        known: Tensor | None = batch.get("tokens")
        return known if known is not None else tokenize(self.tokenizer, batch["caption"]).to(self.device)

    def _errors(self, latents: Tensor, timesteps: Tensor, noise: Tensor, tokens: Tensor) -> Tensor:
        """Return predicted less true v, (B, C, h, w)."""
        context = self.text_encoder(tokens).last_hidden_state
        alphas = self.alphas_cumprod[timesteps][:, None, None, None]
        signal, deviation = alphas.sqrt(), (1 - alphas).sqrt()
        noisy = signal * latents + deviation * noise
        velocity = signal * noise - deviation * latents
        predicted: Tensor = self.unet(noisy, timesteps, context).sample
        return predicted - velocity


def spread_timesteps(position: Tensor, noisy_share: float, noisy_from: int) -> Tensor:
    """Map uniform numbers to timesteps, more of them where there is more noise.

    Where a noisy latent still shows what the caption says, the caption has little to add; what it decides
    in sampling, it decides at noisier timesteps.

    Args:
        position: (B,) in [0, 1).
        noisy_share: Share of the timesteps from `noisy_from` up, beside those that fall there anyway.
        noisy_from: Timestep in [0, 1000).

    Returns:
        (B,) int64 in [0, 1000).
    """
    plain = 1.0 - noisy_share
    everywhere = 1000 * position / max(plain, 1e-9)
    noisy = noisy_from + (1000 - noisy_from) * (position - plain) / max(noisy_share, 1e-9)
    return torch.where(position < plain, everywhere, noisy).long().clamp(0, 999)


class PairLosses(NamedTuple):
    """Losses by pair, (B,) each."""

    plain: Tensor
    pair: Tensor
    contrast: Tensor


def pair_losses(errors: Tensor, differs: Tensor, gaps: Tensor) -> PairLosses:
    """Average the errors of pairs over all cells, over those that differ, and of their difference.

    The error of the difference over the cells that differ is relative to the difference itself: without
    that, small changes such as a smile would hardly count beside a hair colour.

    Args:
        errors: (2B, C, h, w) errors of v, row `i` and row `i + B` of one pair.
        differs: (B, h, w) bool, the cells in which the clean latents of a pair differ.
        gaps: (B, h, w) squared difference of a pair's clean latents, mean over channels.
    """
    first, second = errors.chunk(2)
    squared = ((first.square() + second.square()) / 2).mean(1)
    gap = (first - second).square().mean(1)
    contrast = gap.mean((1, 2)) + relative(differs, gap, gaps)
    return PairLosses(squared.mean((1, 2)), over(differs, squared), contrast)
