"""A whole model against diffusers' pipeline: prompts, sampling and decoding, in the published layouts."""

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from tiny_diffusion import build_unet, make_tokenizer, make_vae
from transformers import CLIPTextConfig, CLIPTextModel

from keyface.diffusion.backbone import Backbone

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LAYOUTS = {
    # Stable Diffusion 1.5 comes with PNDM's schedule, and with weights of a safety checker that is not read.
    "1.5": (
        PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
        {"attention_head_dim": 8},
        "quick_gelu",
    ),
    "2.1-base": (
        PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
        {"attention_head_dim": (1, 2), "use_linear_projection": True},
        "gelu",
    ),
    "2.1": (
        DDIMScheduler(
            **BETAS,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type="v_prediction",
        ),
        {"attention_head_dim": (1, 2), "use_linear_projection": True},
        "gelu",
    ),
}


@pytest.mark.parametrize("variant", [None, "fp16", "sharded"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_samples_as_diffusers_does(layout, variant, tmp_path, theirs, ours):
    scheduler, unet, activation = LAYOUTS[layout]
    tokenizer = make_tokenizer(tmp_path)
    torch.manual_seed(2)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=8,
            hidden_act=activation,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=build_unet(**unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16 if variant == "fp16" else torch.float32).save_pretrained(
        tmp_path / "model",
        variant="fp16" if variant == "fp16" else None,
        max_shard_size="40KB" if variant == "sharded" else "10GB",
    )
    files = [path.name for path in (tmp_path / "model" / "unet").glob("*.safetensors")]
    assert (len(files) > 1) == (variant == "sharded")
    pipeline = StableDiffusionPipeline.from_pretrained(
        tmp_path / "model", variant="fp16" if variant == "fp16" else None
    ).to(torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    backbone = Backbone.from_folder(tmp_path / "model")
    expected, found = theirs(pipeline), ours(backbone)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    prompts = ["a face with glasses", "a face a face a face a face a face with glasses", ""]
    embeddings, _ = pipeline.encode_prompt(prompts, torch.device("cpu"), 1, False)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_prompts(prompts), embeddings, rtol=0, atol=0)
        images = pipeline.vae.decode(expected / pipeline.vae.config.scaling_factor).sample
        torch.testing.assert_close(backbone.decode_latents(expected), images, rtol=0, atol=0)
