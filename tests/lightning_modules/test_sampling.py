from typing import Any, cast

import pytest
import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import Grid, denoise, invert
from keyface.lightning_modules.sampling import (
    Guidance,
    NoisyInput,
    even_timesteps,
    grid_timesteps,
    noisy_latents,
    sample,
)


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def text() -> torch.Tensor:
    return torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(6))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_cached_latents_are_taken_from_the_batch(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor, batch: dict[str, Any]
) -> None:
    cached = NoisyInput(source="cached")
    batch |= {"inverted": latents + 1, "timestep": torch.tensor([3, 700])}
    noisy, timesteps = noisy_latents(cached, backbone, batch, latents, text, generator())
    assert torch.equal(noisy, latents + 1)
    assert timesteps.tolist() == [3, 700]
    del batch["inverted"]
    with pytest.raises(ValueError, match="hold no inverted latents"):
        noisy_latents(cached, backbone, batch, latents, text, generator())


def test_inverted_latents_are_those_of_the_engine(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor
) -> None:
    settings = NoisyInput(source="inverted", steps=5, lowest=0.6, highest=0.6)
    with torch.no_grad():
        noisy, timesteps = noisy_latents(settings, backbone, {}, latents, text, generator())
        expected = invert(backbone.unet, backbone.scheduler, latents, text, 5)[3]
    torch.testing.assert_close(noisy, expected)
    assert timesteps.tolist() == [Grid.of(backbone.scheduler, 5).timestep(3)] * 2


def test_plain_noise_agrees_with_diffusers(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor
) -> None:
    settings = NoisyInput(source="noise", steps=10, lowest=0.3, highest=0.5)
    noisy, timesteps = noisy_latents(settings, backbone, {}, latents, text, generator())
    assert set(timesteps.tolist()) <= set(Grid.of(backbone.scheduler, 10).timesteps[2:5])
    alphas = backbone.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    noise = (noisy - alphas.sqrt() * latents) / (1 - alphas).sqrt()
    torch.testing.assert_close(backbone.scheduler.add_noise(latents, noise, timesteps), noisy)
    assert abs(noise.std().item() - 1) < 0.05


def test_levels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lowest 0\.8, highest 0\.2"):
        NoisyInput(lowest=0.8, highest=0.2)


def test_ways_down() -> None:
    assert [t.tolist() for t in even_timesteps(torch.tensor([900, 10]), 3)] == [[900, 10], [600, 6], [300, 3]]
    assert [t.tolist() for t in even_timesteps(torch.tensor([7]), 1)] == [[7]]


def test_sampling_on_the_grid_agrees_with_the_engine_but_for_the_last_trace_of_noise(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor
) -> None:
    steps = 4
    start = torch.full((2,), Grid.of(backbone.scheduler, steps).timesteps[-1])
    with torch.no_grad():
        ours = sample(
            backbone.unet, backbone.scheduler, latents, grid_timesteps(backbone.scheduler, start, steps), text
        )
        engine = denoise(backbone.unet, backbone.scheduler, latents, text, steps)
    residual = (1 - float(backbone.scheduler.final_alpha_cumprod)) ** 0.5
    assert (ours - engine).abs().max() < 5 * residual
    assert len(grid_timesteps(backbone.scheduler, start, steps)) == steps


def test_each_image_may_have_its_own_timesteps(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor
) -> None:
    starts = torch.tensor([900, 300])
    with torch.no_grad():
        both = sample(backbone.unet, backbone.scheduler, latents, even_timesteps(starts, 3), text)
        for row in range(2):
            way = even_timesteps(starts[row : row + 1], 3)
            alone = sample(
                backbone.unet, backbone.scheduler, latents[row : row + 1], way, text[row : row + 1]
            )
            torch.testing.assert_close(both[row : row + 1], alone, atol=1e-5, rtol=1e-4)


def test_guidance_of_one_and_of_the_same_prompt_change_nothing(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor
) -> None:
    way = even_timesteps(torch.tensor([900, 900]), 2)
    with torch.no_grad():
        plain = sample(backbone.unet, backbone.scheduler, latents, way, text)
        same = sample(backbone.unet, backbone.scheduler, latents, way, text, guidance=Guidance(text, 7.5))
        one = sample(backbone.unet, backbone.scheduler, latents, way, text, guidance=Guidance(-text, 1.0))
        other = sample(backbone.unet, backbone.scheduler, latents, way, text, guidance=Guidance(-text, 7.5))
    torch.testing.assert_close(same, plain)
    assert torch.equal(one, plain)
    assert not torch.allclose(other, plain, atol=1e-3)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_only_the_last_steps_keep_their_gradient(
    backbone: Backbone, latents: torch.Tensor, text: torch.Tensor, checkpointed: bool
) -> None:
    way = even_timesteps(torch.tensor([900, 900]), 3)
    parameter = backbone.unet.conv_in.weight

    def gradient(latents: torch.Tensor, gradient_steps: int, checkpointed: bool) -> torch.Tensor:
        clean = sample(
            backbone.unet,
            backbone.scheduler,
            latents,
            way[-len(way) :],
            text,
            gradient_steps=gradient_steps,
            checkpointed=checkpointed,
        )
        return cast(torch.Tensor, torch.autograd.grad(clean.square().mean(), parameter)[0])

    last = gradient(latents, 1, checkpointed)
    every = gradient(latents, 3, checkpointed)
    assert last.abs().sum() > 0
    assert not torch.allclose(last, every)
    torch.testing.assert_close(every, gradient(latents, 3, checkpointed=False))
