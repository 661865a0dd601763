import dataclasses
from typing import Any

import pytest
import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.lightning_modules.sampling import INVERTED, NoisyInput, noisy_latents


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
    drawn = generator()
    assert torch.equal(
        timesteps,
        torch.tensor(Grid.of(backbone.scheduler, 10).timesteps)[
            torch.randint(3, 6, (2,), generator=drawn) - 1
        ],
    )
    torch.testing.assert_close(noise, torch.randn(latents.shape, generator=drawn), rtol=1e-3, atol=1e-4)


def test_settings_reach_the_inversion(backbone: Backbone, latents: torch.Tensor, text: torch.Tensor) -> None:
    """Without corrections, and at any level from the first to the last."""
    settings, seen = NoisyInput(steps=3, fixed_point_iterations=0), set()
    with torch.no_grad():
        expected = invert(backbone.unet, backbone.scheduler, latents, text, 3, 0)
    for seed in range(12):
        drawn = torch.Generator().manual_seed(seed)
        noisy, timesteps = noisy_latents(settings, backbone, {}, latents, text, drawn)
        level = 1 + Grid.of(backbone.scheduler, 3).timesteps.index(int(timesteps[0]))
        assert timesteps.tolist() == [timesteps[0]] * 2
        torch.testing.assert_close(noisy, expected[level])
        assert level == int(torch.randint(1, 4, (1,), generator=drawn.manual_seed(seed)))
        seen.add(level)
    assert seen == {1, 2, 3}


def test_each_image_has_its_own_level_of_plain_noise(backbone: Backbone, text: torch.Tensor) -> None:
    settings = NoisyInput(source="noise", steps=10, lowest=0.3, highest=0.5)
    many = torch.zeros(100, 4, 2, 2)
    noisy, timesteps = noisy_latents(settings, backbone, {}, many, text, generator())
    assert set(timesteps.tolist()) == set(Grid.of(backbone.scheduler, 10).timesteps[2:5])
    again, _ = noisy_latents(settings, backbone, {}, many, text, generator())
    assert torch.equal(noisy, again)


def test_cached_latents_of_half_precision(backbone: Backbone, latents: torch.Tensor) -> None:
    batch = {"inverted": latents.half(), "timestep": torch.tensor([3, 700], dtype=torch.int32)}
    noisy, timesteps = noisy_latents(
        NoisyInput(source="cached"), backbone, batch, latents, latents, generator()
    )
    assert (noisy.dtype, timesteps.dtype) == (torch.float32, torch.int64)


def test_levels_of_a_grid() -> None:
    assert NoisyInput().levels() == (1, 50)
    assert NoisyInput(steps=10, lowest=0.34, highest=0.66).levels() == (3, 7)
    assert NoisyInput(steps=10, lowest=0.0, highest=0.0).levels() == (1, 1)
    assert NoisyInput(steps=1, lowest=1.0, highest=1.0).levels() == (1, 1)


def test_settings_come_from_a_checkpoint_too() -> None:
    settings = NoisyInput("noise", 7, 0.1, 0.2, 0)
    assert NoisyInput.of(dataclasses.asdict(settings)) == settings
    assert NoisyInput.of(settings) is settings
    assert NoisyInput("inverted", 50, 0.0, 1.0, 1) == INVERTED


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lowest": 0.8, "highest": 0.2}, r"lowest 0\.8, highest 0\.2"),
        ({"lowest": -0.1}, r"lowest -0\.1"),
        ({"highest": 1.1}, r"highest 1\.1"),
        ({"steps": 0}, "steps 0"),
    ],
)
def test_levels_out_of_range_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NoisyInput(**wrong)
