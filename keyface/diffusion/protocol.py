"""What the method needs of a model: everything that `keyface.editing` asks of it stands here.

Networks are called as diffusers calls its denoisers, U-Nets and transformers alike, and their self-attention
layers are diffusers' `Attention`, found by name. So a model of another architecture comes behind the method
with a class that has these members; nothing in `keyface.editing` names a network's class.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from keyface.diffusion.schedule import Grid


class Network(Protocol):
    """ε1, ε2, or the untuned network of a model: an `nn.Module`."""

    device: torch.device
    dtype: torch.dtype

    def __call__(
        self, latents: Tensor, timestep: int | Tensor, *, encoder_hidden_states: Tensor, **residuals: Tensor
    ) -> Any:
        """Predict from latents (B, C, h, w) and prompts (B, L, D): an object with `sample` (B, C, h, w)."""

    def modules(self) -> Iterator[nn.Module]:
        """Yield all parts."""

    def eval(self) -> Any:
        """Put all parts into evaluation mode."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield all parts by name; names of self-attention layers end with `attn1`."""


class EditableModel(Protocol):
    """A text-to-image model that edits; `keyface.diffusion.backbone.Backbone` is one with a U-Net."""

    unet: Any
    """The untuned network, a `Network`."""
    vae: Any
    text_encoder: Any
    """Parts that are put into evaluation mode."""
    matched_layers: str
    """Pattern of the self-attention layers whose tokens say what a place shows, for Eq. 4."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""

    @property
    def latent_channels(self) -> int:
        """Channels C of a latent."""

    @property
    def downscale(self) -> int:
        """Pixels a latent cell is wide."""

    @property
    def coarsest_cell(self) -> int:
        """Pixels that the widest token is wide: images' sides are multiples of it."""

    def grid(self, steps: int) -> Grid:
        """Return the noise levels that inversion and editing share, with their steps in both directions.

        Models of another kind than diffusion have a grid of their own, with other `coefficients`.
        """

    def token_count(self, layer: str, latent_size: tuple[int, int]) -> int:
        """Return how many tokens a self-attention layer sees of a latent of size (h, w).

        They lie in rows, as the latent's cells do.
        """

    def encode_images(self, images: Tensor) -> Tensor:
        """Return latents (B, C, h, w) of images (B, 3, H, W) in [-1, 1]."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents to images (B, 3, H, W), about [-1, 1]."""

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Return token embeddings (B, L, D) of prompts."""
