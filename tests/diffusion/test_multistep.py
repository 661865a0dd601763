"""DPM-Solver++(2M) against diffusers' own and against the solution of a differential equation."""

import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from keyface.diffusion.prediction import predict
from keyface.diffusion.sampling import denoise
from keyface.diffusion.schedule import Grid
from keyface.diffusion.solvers import coefficient, second_order
from keyface.editing.settings import EditSettings

TEXT = torch.zeros(1, 8, 16)
VARIANCE = torch.tensor([0.05, 0.5, 1.0, 2.0], dtype=torch.float64).view(1, 4, 1, 1)


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def steps_of(grid: Grid, latents: torch.Tensor, network, start: int, solver: str = "dpmpp_2m"):
    """Latents after each step, with `network(latents, level)`."""
    before = None
    for level in range(start, 0, -1):
        output = network(latents, level)
        original = grid.original(latents, output, level)
        latents = grid.denoise(latents, output, level)
        if solver == "dpmpp_2m" and before is not None:
            latents = latents + second_order(grid, level, original, before)
        before = original
        yield latents


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers on NumPy 2
@pytest.mark.parametrize("start", [12, 20])
def test_every_step_is_diffusers_own(scheduler, latents, start):
    """From the whole grid and from a part of it, with ε- and v-prediction and zero terminal SNR."""
    grid = Grid.of(scheduler, 20)
    # In diffusers' solver, unlike in its DDIM, the last timestep of zero terminal SNR has a little signal.
    grid = dataclasses.replace(grid, alphas=tuple(max(alpha, 2.0**-24) for alpha in grid.alphas))
    theirs = DPMSolverMultistepScheduler.from_config(
        scheduler.config,
        final_sigmas_type="zero" if grid.alphas[0] == 1.0 else "sigma_min",
        euler_at_final=True,
    )
    theirs.set_timesteps(timesteps=list(reversed(grid.timesteps[:start])))
    outputs = [torch.randn(latents.shape, generator=torch.Generator().manual_seed(i)) for i in range(start)]
    expected = latents
    ours = steps_of(grid, latents, lambda _, level: outputs[start - level], start)
    for timestep, output, found in zip(theirs.timesteps, outputs, ours, strict=True):
        expected = theirs.step(output, timestep, expected).prev_sample
        torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_beside_zero_snr_and_at_the_end_the_order_is_one():
    scheduler = DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    grid = Grid.of(scheduler, 10)
    assert grid.alphas[10] == 0.0
    assert coefficient(grid, 9) == 0.0
    assert coefficient(grid, 1) == 0.0
    assert all(coefficient(grid, level) > 0.0 for level in range(2, 9))


def test_denoising_takes_these_steps(backbone, latents):
    unet, grid = backbone.unet, Grid.of(backbone.scheduler, 4)
    with torch.no_grad():
        *_, expected = steps_of(
            grid, latents, lambda x, level: predict(unet, x, grid.timestep(level), TEXT), start=3
        )
        found = denoise(unet, backbone.scheduler, latents, TEXT, 4, from_level=3, solver="dpmpp_2m")
        by_ddim = denoise(unet, backbone.scheduler, latents, TEXT, 4, from_level=3)
    assert torch.equal(found, expected)
    assert not torch.equal(found, by_ddim)


def test_halving_the_steps_quarters_the_error_and_halves_that_of_ddim(latents):
    """On the exact ε of Gaussian data, mean .5 and a variance by channel, whose flow is known.

    The flow keeps how many standard deviations a latent is from the mean. Half log-SNR goes in even steps
    from −2 to 2, where both orders show undisturbed.
    """

    def spread(alpha: float) -> torch.Tensor:
        return (alpha * VARIANCE + 1 - alpha).sqrt()

    latents, errors = latents.double(), {}
    for solver in ("ddim", "dpmpp_2m"):
        for steps in (20, 40, 80):
            alphas = torch.sigmoid(torch.linspace(4.0, -4.0, steps + 1, dtype=torch.float64)).tolist()
            grid = Grid(tuple(range(1, steps + 1)), tuple(alphas), "epsilon")

            def network(x: torch.Tensor, level: int, alphas=alphas) -> torch.Tensor:
                alpha = alphas[level]
                return (1 - alpha) ** 0.5 * (x - alpha**0.5 * 0.5) / spread(alpha) ** 2

            *_, found = steps_of(grid, latents, network, steps, solver)
            clean, noisy = alphas[0], alphas[-1]
            exact = clean**0.5 * 0.5 + spread(clean) / spread(noisy) * (latents - noisy**0.5 * 0.5)
            errors[solver, steps] = float((found - exact).square().mean().sqrt())
    for steps in (20, 40):
        assert 1.8 < errors["ddim", steps] / errors["ddim", 2 * steps] < 2.2
        assert 3.3 < errors["dpmpp_2m", steps] / errors["dpmpp_2m", 2 * steps] < 4.7
    assert errors["dpmpp_2m", 20] < errors["ddim", 80]


def test_a_solver_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="solver is 'euler'; choose one of ddim, dpmpp_2m"):
        EditSettings(solver="euler")
