"""The miniature's autoencoder: a fixed linear encoder with a trained residual decoder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from keyface.miniature.networks.blocks import ResidualBlock


@dataclass(frozen=True)
class PointDistribution:
    """A distribution that is one point, with the interface of AutoencoderKL's posterior."""

    mean: Tensor

    def mode(self) -> Tensor:
        """Return the point, (B, C, h, w)."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return the point, (B, C, h, w); the encoder has no noise of its own."""
        return self.mean


@dataclass(frozen=True)
class EncoderOutput:
    """What `encode` returns: `latent_dist` as in AutoencoderKL."""

    latent_dist: PointDistribution


@dataclass(frozen=True)
class DecoderOutput:
    """What `decode` returns: `sample`, (B, 3, H, W)."""

    sample: Tensor


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """PCA of image patches as encoder, PCA plus a convolutional residual as decoder.

    A small AutoencoderKL trained from scratch needs far more images than the miniature can afford on a CPU.
    So the encoder is the PCA itself and stays fixed; only the decoder learns. The interface
    is AutoencoderKL's: `encode(x).latent_dist`, `decode(z).sample`, `config.scaling_factor`.

    Args:
        in_channels: Image channels.
        latent_channels: Principal components that are kept.
        patch_size: Side of a patch, the down-sampling factor f; a power of two from 4 up.
        width: Channels of the decoder at latent resolution; each doubling of the resolution halves them.
        depth: Residual blocks at latent resolution.
        scaling_factor: Multiplied to latents by the pipeline.
        whitening: Exponent p of the components' scale σ^(-p): 0 keeps PCA amplitudes (high
            frequencies drown in noise early), 1 whitens (they cost as much as the face's shape).
        unit_components: How many of the first components have unit variance on average, as diffusion
            expects; None takes all. Further ones, which are weaker, leave the others' noise as it is.

    Raises:
        ValueError: `patch_size` is no power of two, or `width` cannot be halved that often.
    """

    patch_mean: Tensor
    components: Tensor
    scales: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 12,
        patch_size: int = 8,
        width: int = 128,
        depth: int = 4,
        scaling_factor: float = 1.0,
        whitening: float = 0.5,
        unit_components: int | None = None,
    ) -> None:
        super().__init__()
        pixels = in_channels * patch_size**2
        doublings = patch_size.bit_length() - 1
        if patch_size < 4 or patch_size != 1 << doublings:
            raise ValueError(f"PatchAutoencoder: patch_size must be 4, 8, 16, …, got {patch_size}")
        # The head doubles the resolution once more, without a level of its own.
        widths = [width >> level for level in range(doublings)]
        if widths[-1] % 8:
            raise ValueError(
                f"PatchAutoencoder: width must be a multiple of {8 << (doublings - 1)}, got {width}"
            )
        self.register_buffer("patch_mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(latent_channels, pixels))
        self.register_buffer("scales", torch.ones(latent_channels))
        self.stem = nn.Conv2d(latent_channels, width, 3, padding=1)
        depths = (depth, 2, *(1 for _ in widths[2:]))
        self.levels = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
            for channels, blocks in zip(widths, depths, strict=True)
        )
        self.ups = nn.ModuleList(nn.Conv2d(a, b * 4, 1) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], in_channels * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def fit_components(self, images: Tensor) -> Tensor:
        """Set the encoder to the principal components of the images' patches.

        Args:
            images: (B, 3, H, W) in [-1, 1]; a thousand images are plenty.

        Returns:
            The kept components' standard deviations, (latent_channels,), in pixel units.
        """
        patches = self._patches(images).permute(0, 2, 3, 1).reshape(-1, self.patch_mean.numel()).double()
        mean = patches.mean(0)
        covariance = torch.cov((patches - mean).T)
        values, vectors = torch.linalg.eigh(covariance)
        keep = self.config.latent_channels
        deviations: Tensor = values.flip(0)[:keep].clamp_min(1e-8).sqrt()
        components = vectors.flip(1)[:, :keep].T
        # An eigenvector's sign is arbitrary: fix it, so that two machines get the same latents.
        components = components * components.sum(1, keepdim=True).sign()
        whitened = deviations.pow(-self.config.whitening)
        # One common factor gives the latents unit variance on average, as diffusion expects.
        overall = (deviations * whitened)[: self.config.unit_components].pow(2).mean().sqrt()
        self.patch_mean.copy_(mean)
        self.components.copy_(components)
        self.scales.copy_(whitened / overall)
        return deviations.float()

    def encode(self, x: Tensor) -> EncoderOutput:
        """Encode images (B, 3, H, W) in [-1, 1] to latents (B, C, H/f, W/f)."""
        patches = self._patches(x) - self.patch_mean[:, None, None]
        latents = torch.einsum("kp,bphw->bkhw", self.components * self.scales[:, None], patches)
        return EncoderOutput(PointDistribution(latents))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Decode latents (B, C, h, w) to images (B, 3, f·h, f·w), not clamped."""
        x = self.levels[0](self.stem(z))
        for up, level in zip(self.ups, self.levels[1:], strict=True):
            x = level(F.pixel_shuffle(up(x), 2))
        return DecoderOutput(self.decode_linear(z) + F.pixel_shuffle(self.head(x), 2))

    def decode_linear(self, z: Tensor) -> Tensor:
        """Decode with the PCA alone: the baseline of equal size, (B, 3, f·h, f·w)."""
        patches = torch.einsum("kp,bkhw->bphw", self.components / self.scales[:, None], z)
        images: Tensor = F.pixel_shuffle(patches + self.patch_mean[:, None, None], self.config.patch_size)
        return images

    def forward(self, sample: Tensor) -> DecoderOutput:
        """Encode and decode images (B, 3, H, W)."""
        return self.decode(self.encode(sample).latent_dist.mode())

    def _patches(self, images: Tensor) -> Tensor:
        patches: Tensor = F.pixel_unshuffle(images, self.config.patch_size)
        return patches
