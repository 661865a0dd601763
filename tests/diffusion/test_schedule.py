"""Steps of networks that predict the clean latent itself, and noise levels by timestep."""

import torch
from diffusers import DDIMScheduler

from keyface.diffusion.schedule import Grid, alphas_at


def test_steps_of_a_predicted_clean_latent_are_diffusers_own_and_come_back():
    scheduler = DDIMScheduler(prediction_type="sample", clip_sample=False, set_alpha_to_one=False)
    grid, (latents, output) = Grid.of(scheduler, 10), torch.randn(2, 2, 4, 8, 8)
    scheduler.set_timesteps(10)
    for level in (2, 5, 10):
        expected = scheduler.step(output, grid.timestep(level), latents).prev_sample
        found = grid.denoise(latents, output, level)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(grid.invert(found, output, level), latents, rtol=1e-3, atol=1e-3)
        assert grid.original(latents, output, level) is output


def test_noise_levels_are_where_the_latents_are():
    scheduler, latents = DDIMScheduler(), torch.zeros(2, 4, 8, 8)
    found = alphas_at(scheduler, torch.tensor([10, 700]), latents)
    assert torch.equal(found, scheduler.alphas_cumprod[[10, 700]].view(2, 1, 1, 1))
    assert alphas_at(scheduler, torch.tensor([10, 700]), latents.to("meta")).device.type == "meta"
