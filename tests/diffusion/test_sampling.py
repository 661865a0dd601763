from functools import partial

import pytest
import torch

from keyface.diffusion.guidance import Guidance
from keyface.diffusion.prediction import predict
from keyface.diffusion.sampling import GridPath, ImagePath, denoise, sample
from keyface.diffusion.schedule import Grid, even_timesteps, grid_timesteps


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def text() -> torch.Tensor:
    return torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(6))


def on_images(backbone, latents, way, guidance, **options):
    """Down each image's own way."""
    return sample(
        partial(guidance.predict_learning, backbone.unet),
        latents,
        ImagePath(backbone.scheduler, way),
        **options,
    )


def test_ways_down():
    assert [t.tolist() for t in even_timesteps(torch.tensor([900, 10]), 3)] == [[900, 10], [600, 6], [300, 3]]
    assert [t.tolist() for t in even_timesteps(torch.tensor([7]), 1)] == [[7]]


@torch.no_grad()
def test_on_the_grid_images_go_the_way_of_the_inversion_but_for_the_last_trace_of_noise(
    backbone, latents, text, scheduler
):
    steps, unet = 4, backbone.unet
    grid = Grid.of(scheduler, steps)
    way = grid_timesteps(scheduler, torch.full((2,), grid.timesteps[-2]), steps)
    assert [int(t[0]) for t in way] == list(grid.timesteps[2::-1])
    path = ImagePath(scheduler, way)
    found = sample(partial(Guidance(text).predict, unet), latents, path)
    expected = denoise(unet, scheduler, latents, text, steps, from_level=3)
    residual = (1 - grid.alphas[0]) ** 0.5
    assert (found - expected).abs().max() < 5 * residual + 1e-4


@torch.no_grad()
def test_a_path_that_ends_above_the_clean_latent(backbone, latents, text):
    """Each step by diffusers' formula for v-prediction, from 800 over 500 to 200."""
    scheduler, unet = backbone.scheduler, backbone.unet
    path = ImagePath(
        scheduler, [torch.tensor([800, 800]), torch.tensor([500, 500])], until=torch.tensor([200, 200])
    )
    found = sample(partial(Guidance(text).predict, unet), latents, path)
    x = latents
    for here, there in ((800, 500), (500, 200)):
        a, b = (scheduler.alphas_cumprod[t] for t in (here, there))
        v = unet(x, here, encoder_hidden_states=text).sample
        original, noise = a.sqrt() * x - (1 - a).sqrt() * v, a.sqrt() * v + (1 - a).sqrt() * x
        x = b.sqrt() * original + (1 - b).sqrt() * noise
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_guided_sampling_on_the_grid_is_diffusers_own(backbone, latents, text, scheduler):
    """From the noisiest level to the clean latent, by `DDIMScheduler.step` and two forwards a step."""
    unet, negative = backbone.unet, torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(8))
    grid = Grid.of(scheduler, 5)
    guidance = Guidance.of(text, negative, 3.0)
    found = sample(partial(guidance.predict, unet), latents, GridPath(grid, 5))
    scheduler.set_timesteps(5)
    x = latents
    for timestep in scheduler.timesteps:
        away = unet(x, timestep, encoder_hidden_states=negative.expand(2, -1, -1)).sample
        towards = unet(x, timestep, encoder_hidden_states=text).sample
        x = scheduler.step(away + 3.0 * (towards - away), timestep, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_guidance_of_each_place_by_its_own_scale(backbone, latents, text):
    timesteps, scale = torch.tensor([900, 300]), torch.rand(2, 1, 8, 8)
    guidance = Guidance(text, -text, scale)
    found = guidance.predict(backbone.unet, latents, timesteps)
    towards, away = (predict(backbone.unet, latents, timesteps, each) for each in (text, -text))
    torch.testing.assert_close(found, (1 - scale) * away + scale * towards, rtol=1e-4, atol=1e-5)
    assert guidance.branches == ("negative", "target")
    assert guidance.unguided().branches == ("target",)
    alone = guidance.unguided().predict(backbone.unet, latents, timesteps)
    torch.testing.assert_close(alone, towards, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_each_image_may_have_its_own_timesteps(backbone, latents, text):
    starts = torch.tensor([900, 300])
    both = on_images(backbone, latents, even_timesteps(starts, 3), Guidance(text))
    for row in range(2):
        one = slice(row, row + 1)
        alone = on_images(backbone, latents[one], even_timesteps(starts[one], 3), Guidance(text[one]))
        torch.testing.assert_close(both[one], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_guidance_of_one_and_of_the_same_prompt_change_nothing(backbone, latents, text):
    way = even_timesteps(torch.tensor([900, 900]), 2)
    plain, same, one, other = (
        on_images(backbone, latents, way, guidance)
        for guidance in (
            Guidance(text),
            Guidance.of(text, text, 7.5),
            Guidance.of(text, -text, 1.0),
            Guidance.of(text, -text, 7.5),
        )
    )
    torch.testing.assert_close(same, plain)
    assert torch.equal(one, plain)
    assert not torch.allclose(other, plain, atol=1e-3)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_only_the_last_steps_keep_their_gradient(backbone, latents, text, checkpointed):
    way = even_timesteps(torch.tensor([900, 900]), 3)
    unet, parameter = backbone.unet, backbone.unet.conv_in.weight

    def gradient(gradient_steps, checkpointed):
        (unet.enable_gradient_checkpointing if checkpointed else unet.disable_gradient_checkpointing)()
        path = ImagePath(backbone.scheduler, way)
        unet.train()
        clean = sample(
            partial(Guidance(text).predict_learning, unet), latents, path, gradient_steps=gradient_steps
        )
        found = torch.autograd.grad(clean.square().mean(), parameter)[0]
        unet.eval().disable_gradient_checkpointing()
        return found

    last, every = gradient(1, checkpointed), gradient(3, checkpointed)
    assert last.abs().sum() > 0
    assert not torch.allclose(last, every)
    torch.testing.assert_close(every, gradient(3, checkpointed=False))


def test_learning_with_guidance_reaches_the_target_branch_alone(backbone, latents, text):
    """The gradient is the target's, times the scale; the negative prompt gets none."""
    unet, timestep = backbone.unet, torch.tensor([900, 300])
    target, negative = text.clone().requires_grad_(), (-text).clone().requires_grad_()
    Guidance.of(target, negative, 2.5).predict_learning(unet, latents, timestep).sum().backward()
    alone = text.clone().requires_grad_()
    predict(unet, latents, timestep, alone).sum().backward()
    assert negative.grad is None
    torch.testing.assert_close(target.grad, 2.5 * alone.grad, rtol=1e-3, atol=1e-5)
    unet.zero_grad()
