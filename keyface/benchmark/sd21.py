"""A model of Stable Diffusion 2.1-base's shapes with random weights: speed does not depend on weights."""

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from keyface.diffusion.backbone import Backbone

PIXELS = 512
"""Side of the images that the model is made for."""

_LENGTH = 77
_VOCABULARY = 49408


class HashTokenizer:
    """Number words by their hash: CLIP's vocabulary is no part of its shapes."""

    model_max_length = _LENGTH
    unk_token_id = None  # it knows all words

    def __call__(self, texts: Sequence[str], **_: object) -> SimpleNamespace:
        """Return token ids (B, 77) between begin and end marks."""
        rows = []
        for text in texts:
            words = [
                int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % (_VOCABULARY - 2)
                for word in text.split()[: _LENGTH - 2]
            ]
            rows.append(
                [_VOCABULARY - 2, *words, *[_VOCABULARY - 1] * (_LENGTH - 1 - len(words))],
            )
        return SimpleNamespace(input_ids=torch.tensor(rows))


def build_unet(shrunk: bool = False) -> UNet2DConditionModel:
    """Build SD 2.1-base's U-Net, 866 M parameters, on the default device; `shrunk` has its blocks only."""
    channels = (32, 64, 64, 64) if shrunk else (320, 640, 1280, 1280)
    heads = (2, 4, 4, 4) if shrunk else (5, 10, 20, 20)
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=channels,
        attention_head_dim=heads,
        cross_attention_dim=32 if shrunk else 1024,
        use_linear_projection=True,
    ).eval()


def build_vae(shrunk: bool = False) -> AutoencoderKL:
    """Build SD 2.1-base's autoencoder, 84 M parameters."""
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32) if shrunk else (128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1 if shrunk else 2,
        latent_channels=4,
        sample_size=768,
    ).eval()


def build_text_encoder(shrunk: bool = False) -> CLIPTextModel:
    """Build SD 2.1-base's text encoder: OpenCLIP ViT-H's, without its last layer."""
    config = CLIPTextConfig(
        vocab_size=_VOCABULARY,
        hidden_size=32 if shrunk else 1024,
        intermediate_size=64 if shrunk else 4096,
        num_hidden_layers=1 if shrunk else 23,
        num_attention_heads=2 if shrunk else 16,
        hidden_act="gelu",
        max_position_embeddings=_LENGTH,
    )
    return CLIPTextModel(config).eval()


def build_backbone(device: str, *, shrunk: bool = False, seed: int = 0) -> Backbone:
    """Build the whole model, drawn at random on the device.

    Args:
        device: Where the weights are drawn, and stay.
        shrunk: A few channels instead of the real ones.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    with torch.device(device):
        vae, unet, text_encoder = build_vae(shrunk), build_unet(shrunk), build_text_encoder(shrunk)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )
    for module in (vae, unet, text_encoder):
        module.requires_grad_(False)
    return Backbone(vae, unet, text_encoder, HashTokenizer(), scheduler)
