"""Fixtures with Stable Diffusion's classes at 4 × 8 × 8 latents of 16 × 16 images."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from keyface.diffusion.backbone import Backbone

WIDTH = 16
SCHEDULES = {
    "epsilon": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
    },
    "v_prediction": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    },
}


def build_unet(seed: int = 0, **changes) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**config, **changes}).eval()


def make_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        sample_size=16,
    ).eval()


def make_tokenizer(folder) -> CLIPTokenizer:
    words = ["<|startoftext|>", "<|endoftext|>", "face</w>", "with</w>", "glasses</w>", "a</w>"]
    letters = [chr(c) for c in range(97, 123)]
    vocabulary = {word: i for i, word in enumerate([*words, *letters, *(f"{c}</w>" for c in letters)])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)


def make_text_encoder(vocabulary: int) -> CLIPTextModel:
    torch.manual_seed(2)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).eval()


@pytest.fixture(scope="session")
def make_unet():
    """`make_unet(seed, **config)` builds a tiny random U-Net."""
    return build_unet


@pytest.fixture(scope="session")
def epsilon_scheduler() -> DDIMScheduler:
    return DDIMScheduler(**SCHEDULES["epsilon"])


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> Backbone:
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    scheduler = DDIMScheduler(**SCHEDULES["v_prediction"])
    return Backbone(make_vae(), build_unet(), make_text_encoder(len(tokenizer)), tokenizer, scheduler)


@pytest.fixture(params=sorted(SCHEDULES))
def scheduler(request) -> DDIMScheduler:
    return DDIMScheduler(**SCHEDULES[request.param])


@pytest.fixture
def frames() -> torch.Tensor:
    """Ten frames (10, 3, 16, 16): a smooth pattern that moves."""
    x = torch.linspace(0, 6.28, 16)
    shifts = torch.arange(10)[:, None, None] * 0.2
    wave = torch.sin(x[None, None] + shifts) * torch.cos(x[None, :, None])
    return torch.stack([wave, wave.flip(1), wave * 0.5], dim=1)
