from typing import Any

import pytest
import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.lightning_modules.sampling import NoisyInput, noisy_latents


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
