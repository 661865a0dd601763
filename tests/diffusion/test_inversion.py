import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from keyface.diffusion.inversion import invert, invert_to
from keyface.diffusion.prediction import predict_original
from keyface.diffusion.sampling import denoise
from keyface.diffusion.schedule import Grid


class Gaussian(torch.nn.Module):
    """The exact network for Gaussian data, mean .5 and a variance by channel: smooth, not constant."""

    dtype = torch.float32

    def __init__(self, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.scheduler, self.forwards = scheduler, 0

    def forward(self, latents, timestep, encoder_hidden_states):
        self.forwards += len(latents)
        alpha = float(self.scheduler.alphas_cumprod[timestep])
        signal, noise = alpha**0.5, (1 - alpha) ** 0.5
        variance = torch.tensor([0.05, 0.5, 1.0, 2.0]).view(1, 4, 1, 1)
        epsilon = noise * (latents - signal * 0.5) / (alpha * variance + 1 - alpha)
        original = 0.5 + signal * variance * (latents - signal * 0.5) / (alpha * variance + 1 - alpha)
        kind = self.scheduler.config.prediction_type
        output = epsilon if kind == "epsilon" else signal * epsilon - noise * original
        return type("Output", (), {"sample": output})


class Constant(torch.nn.Module):
    dtype = torch.float32

    def forward(self, latents, timestep, encoder_hidden_states):
        output = (
            torch.linspace(-1, 1, latents[0].numel(), device=latents.device)
            .view(1, *latents.shape[1:])
            .expand_as(latents)
        )
        return type("Output", (), {"sample": output})


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


TEXT = torch.zeros(1, 8, 16)


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_denoising_step_is_diffusers_own(scheduler, latents, steps):
    grid = Grid.of(scheduler, steps)
    scheduler.set_timesteps(steps)
    assert list(grid.timesteps)[::-1] == scheduler.timesteps.tolist()
    output = torch.randn_like(latents)
    for level in (1, 2, steps // 2, steps):
        expected = scheduler.step(output, grid.timestep(level), latents).prev_sample
        torch.testing.assert_close(grid.denoise(latents, output, level), expected, rtol=1e-4, atol=1e-4)


def test_inversion_step_is_diffusers_own_for_epsilon(latents, epsilon_scheduler):
    scheduler = epsilon_scheduler
    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    inverse.set_timesteps(20)
    grid = Grid.of(scheduler, 20)
    output = torch.randn_like(latents)
    for level, timestep in enumerate(inverse.timesteps.tolist(), start=1):
        assert grid.timestep(level) == timestep
        expected = inverse.step(output, timestep, latents).prev_sample
        torch.testing.assert_close(grid.invert(latents, output, level), expected, rtol=1e-5, atol=1e-5)


def test_constant_output_comes_back_exactly(scheduler, latents):
    network = Constant()
    for iterations in (0, 1):
        inverted = invert(network, scheduler, latents, TEXT, 20, iterations)
        back = denoise(network, scheduler, inverted[-1], TEXT, 20)
        torch.testing.assert_close(back, latents, rtol=1e-4, atol=2e-4)


def test_inversion_then_denoising_returns_the_latent_and_fixed_point_helps(scheduler, latents):
    errors = []
    for iterations in (0, 1, 3):
        network = Gaussian(scheduler)
        inverted = invert(network, scheduler, latents, TEXT, 20, iterations)
        expected_forwards = 2 * (20 if iterations == 0 else 20 * iterations + 3)
        assert network.forwards == expected_forwards
        back = denoise(network, scheduler, inverted[-1], TEXT, 20)
        errors.append(float((back - latents).square().mean().sqrt()))
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[0] / 5


def test_extrapolated_outputs_bring_a_correction_further(scheduler, latents):
    """One correction of the extrapolated output, against one of the output of the level below."""
    network, grid = Gaussian(scheduler), Grid.of(scheduler, 20)

    def output(x, level):
        return network(x, grid.timestep(level), TEXT).sample

    below, held = latents, None
    for level in range(1, 21):
        corrections = 1 if held is not None else 3
        held = output(below, level) if held is None else held
        for _ in range(corrections):
            held = output(grid.invert(below, held, level), level)
        below = grid.invert(below, held, level)

    def error(inverted):
        back = denoise(network, scheduler, inverted, TEXT, 20)
        return float((back - latents).square().mean().sqrt())

    extrapolated = error(invert(network, scheduler, latents, TEXT, 20, 1)[-1])
    assert extrapolated < 0.95 * error(below)


def test_invert_to_is_a_point_of_the_trajectory(scheduler, latents):
    network = Gaussian(scheduler)
    trajectory = invert(network, scheduler, latents, TEXT, 10)
    torch.testing.assert_close(trajectory[0], latents)
    torch.testing.assert_close(invert_to(network, scheduler, latents, TEXT, 4, 10), trajectory[5])


def test_some_levels_alone_by_hand(epsilon_scheduler, latents):
    """From the clean latent to level 2 and from there to 5: x = √ᾱ x̂0 + √(1 − ᾱ) ε, one forward each."""
    network, grid, told = Gaussian(epsilon_scheduler), Grid.of(epsilon_scheduler, 10), []
    found = invert(network, epsilon_scheduler, latents, TEXT, 10, 0, levels=[2, 5], before_level=told.append)
    assert (told, network.forwards) == ([2, 5], 2 * 2)
    below, expected = 0, [latents]
    for level in (2, 5):
        a, b, x = grid.alphas[below], grid.alphas[level], expected[-1]
        noise = network(x, grid.timestep(level), TEXT).sample
        original = (x - (1 - a) ** 0.5 * noise) / a**0.5
        expected.append(b**0.5 * original + (1 - b) ** 0.5 * noise)
        below = level
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


class Outlines:
    """A ControlNet that notes at which timesteps it is asked, and adds nothing."""

    def __init__(self):
        self.asked = []

    def residuals(self, latents, timestep, text):
        self.asked.append(int(timestep))
        return {}


def test_each_forward_has_the_control_images(scheduler, latents):
    """The first level takes a forward and three corrections, the next one correction."""
    control, grid = Outlines(), Grid.of(scheduler, 10)
    invert(Gaussian(scheduler), scheduler, latents, TEXT, 10, 1, until=2, control=control)
    assert control.asked == [grid.timestep(1)] * 4 + [grid.timestep(2)]


def test_no_level_and_levels_that_there_are_not(scheduler, latents):
    assert torch.equal(invert(Constant(), scheduler, latents, TEXT, 10, until=0), latents[None])
    for until in (-1, 11):
        with pytest.raises(ValueError, match=f"level {until} is outside the grid of 10 steps"):
            invert(Constant(), scheduler, latents, TEXT, 10, until=until)


def test_a_trajectory_is_on_the_latents_device(scheduler, latents):
    found = invert(Constant(), scheduler, latents.to("meta"), TEXT, 10, until=2)
    assert (found.shape, found.device.type, found.dtype) == ((3, 2, 4, 8, 8), "meta", torch.float32)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_predict_original_undoes_the_noise(latents, kind):
    scheduler = DDIMScheduler(prediction_type=kind)
    noise, timesteps = torch.randn_like(latents), torch.tensor([10, 700])
    noisy = scheduler.add_noise(latents, noise, timesteps)
    output = {
        "epsilon": noise,
        "v_prediction": scheduler.get_velocity(latents, noise, timesteps),
        "sample": latents,
    }[kind]
    found = predict_original(output, noisy, timesteps, scheduler)
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-4)


def test_epsilon_with_zero_terminal_snr_is_refused():
    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(ValueError, match="zero terminal SNR"):
        Grid.of(scheduler, 10)


def test_the_scheduler_is_left_alone(scheduler):
    before = scheduler.timesteps.clone()
    Grid.of(scheduler, 7)
    assert torch.equal(scheduler.timesteps, before)
