"""The frozen text-to-image model around ε1 and ε2: autoencoder, text encoder, U-Net, schedule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel

from keyface.diffusion.adapters import ADAPTER_CONFIG, merged_adapter
from keyface.diffusion.checks import (
    file_of,
    require_finite_weights,
    require_same_weights,
)
from keyface.diffusion.model_kinds import require_editable, require_text_to_image
from keyface.diffusion.part_config import read_part_config, require_fitting
from keyface.diffusion.part_files import require_safetensors, variant_of
from keyface.diffusion.schedule import Grid

FAMILIES: Mapping[object, str] = {128: "miniature", 768: "sd1", 1024: "sd2"}
"""Width of the text → family of models, see `keyface.plugins.checks.FAMILIES`."""

MATCHED_LAYERS = r"(mid_block|up_blocks).*attn1$"
"""Of a U-Net: what the decoder's self-attention sees tells places apart."""


@dataclass
class Backbone:
    """A text-to-image latent diffusion model in its parts, as diffusers keeps them.

    Attributes:
        vae: `AutoencoderKL` or a class with its interface.
        unet: The untuned U-Net.
        text_encoder: Gives the last hidden state that cross-attention reads.
        tokenizer: Of the text encoder.
        scheduler: Its configuration (noise levels, prediction type, spacing) is what counts.
        source: The folder or the file that it was read from; None where it was made otherwise.
        matched_layers: Pattern of the self-attention layers whose tokens are compared between frames.
        added_words: Of textual inversions, `keyface.diffusion.additions.embedding`.
    """

    vae: Any
    unet: UNet2DConditionModel
    text_encoder: Any
    tokenizer: Any
    scheduler: DDIMScheduler
    source: Path | None = None
    matched_layers: str = MATCHED_LAYERS
    added_words: list[str] = field(default_factory=list)

    @classmethod
    def from_folder(
        cls, folder: Path | str, *, autoencoder: type = AutoencoderKL, dtype: torch.dtype = torch.float32
    ) -> "Backbone":
        """Read a folder in diffusers' layout; weights are safetensors, fp16 ones where there are no others.

        Args:
            folder: Holds `vae/ unet/ text_encoder/ tokenizer/ scheduler/`.
            autoencoder: Class of the `vae` part.
            dtype: Precision of the weights.

        Raises:
            FileNotFoundError: A part is missing, or its weights, such as where there are only pickles.
            ValueError: The model is of another kind, such as Stable Diffusion XL or inpainting; the `vae`
                part is of another class, whose weights would be left at random; or a part's weights are not
                those of its network, or not finite.
        """
        folder = Path(folder)
        require_editable(folder)
        missing = [
            p for p in ("vae", "unet", "text_encoder", "tokenizer", "scheduler") if not (folder / p).is_dir()
        ]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {', '.join(missing)}; a model folder in diffusers' layout is needed"
            )
        require_safetensors(
            {
                folder / "vae": autoencoder,
                folder / "unet": UNet2DConditionModel,
                folder / "text_encoder": CLIPTextModel,
            }
        )
        stored = read_part_config(folder / "vae").get("_class_name")
        if stored not in (None, autoencoder.__name__):
            raise ValueError(f"{folder / 'vae'} holds a {stored!r:.80}; {autoencoder.__name__} is needed")
        scheduler = _schedule(folder / "scheduler")
        backbone = cls(
            vae=load_network(autoencoder, folder / "vae", torch_dtype=dtype),
            unet=load_network(UNet2DConditionModel, folder / "unet", torch_dtype=dtype),
            # CLIP's projection and image encoder often lie beside the part that is used.
            text_encoder=load_network(
                CLIPTextModel, folder / "text_encoder", allow_foreign=True, dtype=dtype
            ),
            tokenizer=_tokenizer(folder / "tokenizer"),
            scheduler=scheduler,
            source=folder,
        )
        for module in (backbone.vae, backbone.unet, backbone.text_encoder):
            module.eval()
        return backbone

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return torch.device(self.unet.device)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the U-Net's weights."""
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @property
    def family(self) -> str | None:
        """Family of models, by the width of the text that the U-Net reads; None for an unknown one."""
        return FAMILIES.get(self.unet.config.cross_attention_dim)

    @property
    def latent_channels(self) -> int:
        """Channels C of a latent."""
        return int(self.unet.config.in_channels)

    @cached_property
    def downscale(self) -> int:
        """Pixels a latent cell is wide, measured on the autoencoder itself (8 for Stable Diffusion)."""
        side = 64
        with torch.no_grad():
            latents = self.encode_images(torch.zeros(1, 3, side, side, device=self.device))
        return side // latents.shape[-1]

    @property
    def text_length(self) -> int:
        """Tokens L of a prompt, padded or cut."""
        return int(min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings))

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the U-Net was made for."""
        return int(self.unet.config.sample_size) * self.downscale

    @property
    def coarsest_cell(self) -> int:
        """Pixels that a cell of the U-Net's coarsest level is wide: images' sides are multiples of it."""
        return self.downscale * int(2 ** (len(self.unet.config.block_out_channels) - 1))

    def grid(self, steps: int) -> Grid:
        """Return the noise levels that inversion and editing share, spaced as the scheduler spaces them."""
        return Grid.of(self.scheduler, steps)

    def token_count(self, layer: str, latent_size: tuple[int, int]) -> int:
        """Return how many tokens a self-attention layer sees of a latent of size (h, w).

        Known from the U-Net's configuration: the i-th encoder block works on a grid 2^i times as coarse as
        the latent, the middle block at the coarsest resolution, and the i-th decoder block on a grid 2^i
        times as fine as that.

        Args:
            layer: Its name, such as `up_blocks.1.attentions.0.transformer_blocks.0.attn1`.
            latent_size: (h, w).
        """
        coarsest: int = len(self.unet.config.block_out_channels) - 1
        block = re.match(r"(down|up)_blocks\.(\d+)\.", layer)
        halvings = coarsest
        if block is not None:
            halvings = int(block[2]) if block[1] == "down" else coarsest - int(block[2])
        return int((latent_size[0] // 2**halvings) * (latent_size[1] // 2**halvings))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Backbone":
        """Move the three networks in place, and return this object."""
        for module in (self.vae, self.unet, self.text_encoder):
            if device is not None:
                module.to(device)
            if dtype is not None:
                module.to(dtype)
        return self

    def encode_images(self, images: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w), fp32, of images (B, 3, H, W) in [-1, 1]: posterior modes."""
        posterior = self.vae.encode(images.to(self.vae.device, self.vae.dtype)).latent_dist
        latents: Tensor = posterior.mode().float() * self.vae.config.scaling_factor
        return latents

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode scaled latents to images (B, 3, H, W), about [-1, 1], not clamped, fp32; differentiable."""
        scaled = latents.to(self.vae.device) / self.vae.config.scaling_factor
        images: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample
        return images.float()

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Return token embeddings (B, L, D) of prompts, padded or cut to the text encoder's length."""
        if self.added_words:
            from keyface.diffusion.additions.embedding import spell_out  # takes seconds, few have any

            prompts = spell_out(prompts, self.tokenizer)
        tokens = self.tokenizer(
            prompts, padding="max_length", max_length=self.text_length, truncation=True, return_tensors="pt"
        )
        place = torch.device(self.text_encoder.device)
        numbers = tokens.input_ids.to(place, non_blocking=place.type == "cuda")
        embedding: Tensor = self.text_encoder(numbers).last_hidden_state
        return embedding


def load_unet(folder: Path | str, base: UNet2DConditionModel | None = None) -> UNet2DConditionModel:
    """Read a fine-tuned U-Net: a whole one, or LoRA layers merged into a copy of `base`.

    Args:
        folder: diffusers' U-Net folder (`config.json`, safetensors), or one written by peft's
            `save_pretrained` (`adapter_config.json`, `adapter_model.safetensors`).
        base: The network that LoRA layers belong to; stays as it is. Not needed for a whole U-Net.

    Returns:
        The network in evaluation mode, on the device and in the precision of `base` where there is one.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ValueError: It holds something else, or weights that do not fit or are not finite.
    """
    folder = Path(folder)
    if (folder / ADAPTER_CONFIG).is_file():
        if base is None:
            raise ValueError(f"{folder} holds LoRA layers; give the U-Net they were trained on")
        return merged_adapter(folder, base)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} has neither config.json nor adapter_config.json; not a U-Net's folder"
        )
    require_text_to_image(read_part_config(folder), folder)
    unet: UNet2DConditionModel = load_network(UNet2DConditionModel, folder)
    return unet.eval() if base is None else unet.to(base.device, base.dtype).eval()


def _schedule(folder: Path) -> DDIMScheduler:
    """Read the noise schedule.

    Clipping to [-1, 1] is for pixels; it is diffusers' default and would break inversion of latents.
    """
    read_part_config(folder, "scheduler_config.json")
    try:
        return DDIMScheduler.from_pretrained(folder, clip_sample=False, thresholding=False)
    except Exception as error:  # what a foreign value breaks in diffusers can be anything
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder / 'scheduler_config.json'}: no schedule: {told:.160}") from error


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # as above, in transformers
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder}: no tokenizer that can be read: {told:.160}") from error


def load_network(kind: Any, folder: Path, *, allow_foreign: bool = False, **options: Any) -> Any:
    """Read a network of diffusers or transformers, which only log what does not fit."""
    file, variant = file_of(folder), variant_of(folder, kind)
    require_fitting(kind, read_part_config(folder), folder)
    try:
        network, found = kind.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, variant=variant, **options
        )
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        told = str(error).partition(". ")[0]
        raise ValueError(
            f"{file}: damaged, or not the weights of the {kind.__name__} that {folder / 'config.json'} "
            f"describes: {told}"
        ) from error
    foreign = () if allow_foreign else found["unexpected_keys"]
    require_same_weights(found["missing_keys"], foreign, file, kind.__name__)
    require_finite_weights(network.state_dict(), file)
    return network
