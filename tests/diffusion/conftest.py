"""diffusers' own pipeline around the tiny networks, to compare with."""

from functools import partial

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_diffusion import build_unet, make_text_encoder, make_tokenizer, make_vae

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import GridPath, sample
from keyface.diffusion.schedule import Grid

PROMPT, NEGATIVE, STEPS, SCALE = "a face with glasses", "a face", 4, 3.0


@pytest.fixture
def make_pipeline(epsilon_scheduler, tmp_path):
    """Build a whole model; its weights are the same each time, and tests may change them."""
    tokenizer = make_tokenizer(tmp_path)

    def make(kind=StableDiffusionPipeline, **more):
        pipeline = kind(
            vae=make_vae(),
            text_encoder=make_text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=build_unet(),
            scheduler=epsilon_scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **more,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def theirs(noise):
    """Sample latents as diffusers' pipeline does."""

    def run(pipeline, **more):
        found = pipeline(
            [PROMPT] * 2,
            negative_prompt=[NEGATIVE] * 2,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            latents=noise.clone(),
            output_type="latent",
            **more,
        )
        return found.images

    return run


@pytest.fixture
def ours(noise):
    """Sample latents as the editor does, without anything that makes an edit."""

    @torch.no_grad()
    def run(backbone: Backbone, control=None, face=None):
        target, negative = backbone.encode_prompts([PROMPT, NEGATIVE]).chunk(2)
        if face is not None:
            target, negative = face.shown(target), face.unseen(negative)
        guidance = Guidance.of(target, negative, SCALE)
        grid = Grid.of(backbone.scheduler, STEPS)
        predict = partial(guidance.predict, backbone.unet, control=control)
        return sample(predict, noise * backbone.scheduler.init_noise_sigma, GridPath(grid, STEPS))

    return run


def parts_of(pipeline) -> Backbone:
    return Backbone(
        pipeline.vae, pipeline.unet, pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler
    )


@pytest.fixture(name="parts_of")
def parts_of_fixture():
    return parts_of
