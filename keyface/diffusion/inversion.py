"""Deterministic inversion and denoising on one shared grid; see `keyface.diffusion.schedule`."""

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.schedule import Grid, original_of
from keyface.diffusion.solvers import Solver, second_order

__all__ = ["Grid", "denoise", "invert", "invert_to", "predict", "predict_original"]

FIRST_LEVEL_CORRECTIONS = 2
"""Further ones of the first level, which has the widest step and no level below to learn from."""


def predict_original(
    model_output: Tensor, latents: Tensor, timesteps: Tensor, scheduler: DDIMScheduler
) -> Tensor:
    """One-step estimate x̂0 of the clean latent, differentiable, in fp32.

    Args:
        model_output: (B, C, h, w), what the U-Net gave.
        latents: (B, C, h, w), what it was given.
        timesteps: (B,) or (), integers.
        scheduler: its `prediction_type` says what the output means: epsilon, v_prediction or sample.

    Returns:
        (B, C, h, w).
    """
    alphas = scheduler.alphas_cumprod.to(latents.device)[timesteps.to(latents.device)]
    alphas = alphas.float().reshape(-1, *([1] * (latents.ndim - 1)))
    kind = str(scheduler.config.prediction_type)
    return original_of(latents.float(), model_output.float(), alphas, kind)


def predict(unet: UNet2DConditionModel, latents: Tensor, timestep: int, text: Tensor) -> Tensor:
    """The U-Net's output in fp32, whatever precision it runs in.

    Args:
        unet: any `UNet2DConditionModel`.
        latents: (B, C, h, w).
        timestep: one for the whole batch.
        text: (B, L, D) or (1, L, D).

    Returns:
        (B, C, h, w), fp32.
    """
    text = text.to(latents.device, unet.dtype).expand(latents.shape[0], -1, -1)
    output: Tensor = unet(latents.to(unet.dtype), timestep, encoder_hidden_states=text).sample
    return output.float()


@torch.no_grad()
def invert(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    latents: Tensor,
    text: Tensor,
    steps: int,
    fixed_point_iterations: int = 1,
    *,
    until: int | None = None,
    levels: Sequence[int] | None = None,
    before_level: Callable[[int], None] | None = None,
) -> Tensor:
    """Deterministic DDIM inversion, without guidance and without gradient.

    With k fixed-point iterations the output of each level is first extrapolated linearly from those of the
    two levels below, and corrected k times by evaluating it at the latent that it leads to. The first level,
    where there is nothing to extrapolate from, takes three evaluations more: k · until + 3 forwards a latent.
    On the exact network for Gaussian data (20 steps) the error after inversion and reconstruction at k = 1
    is .065 (ε) and .019 (v), at about half the forwards of the usual way, which evaluates anew before each
    correction (.058 and .076). Plain inversion, k = 0, has .187 in both.

    Args:
        unet: ε1, or the frozen base.
        scheduler: the DDIM scheduler of the backbone; not changed.
        latents: clean, (B, C, h, w).
        text: source prompt, (B, L, D) or (1, L, D).
        steps: of the whole grid.
        fixed_point_iterations: k.
        until: last level wanted, 1 … steps; None is all.
        levels: the only ones to visit, ascending, where no exact reconstruction is wanted; replaces `until`.
        before_level: called with the level before the U-Net runs for it.

    Returns:
        Trajectory (visited levels + 1, B, C, h, w), fp32; `[0]` is the input.
    """
    grid = Grid.of(scheduler, steps)
    until = steps if until is None else until
    if not 0 <= until <= grid.steps:
        raise ValueError(f"level {until} is outside the grid of {grid.steps} steps")
    visited = range(1, until + 1) if levels is None else levels
    grid = grid.only(visited)
    trajectory = torch.empty((grid.steps + 1, *latents.shape), dtype=torch.float32, device=latents.device)
    trajectory[0] = latents
    outputs: list[Tensor] = []
    for level, wanted in enumerate(visited, start=1):
        if before_level is not None:
            before_level(wanted)
        below = trajectory[level - 1]
        corrections = fixed_point_iterations
        if not outputs or fixed_point_iterations == 0:
            output = predict(unet, below, grid.timestep(level), text)
            corrections += FIRST_LEVEL_CORRECTIONS if fixed_point_iterations > 0 else 0
        else:
            output = 2 * outputs[-1] - outputs[-2] if len(outputs) > 1 else outputs[-1]
        for _ in range(corrections):
            estimate = grid.invert(below, output, level)
            output = predict(unet, estimate, grid.timestep(level), text)
        trajectory[level] = grid.invert(below, output, level)
        outputs = [*outputs[-1:], output]
    return trajectory


def invert_to(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    latents: Tensor,
    text: Tensor,
    timestep_index: int,
    steps: int,
    fixed_point_iterations: int = 1,
) -> Tensor:
    """Inverted latents (B, C, h, w) at `Grid.of(scheduler, steps).timesteps[timestep_index]`."""
    return invert(unet, scheduler, latents, text, steps, fixed_point_iterations, until=timestep_index + 1)[-1]


def denoise(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    latents: Tensor,
    text: Tensor,
    steps: int,
    from_level: int | None = None,
    solver: Solver = "ddim",
) -> Tensor:
    """Deterministic denoising without guidance, one forward a step; `ddim` reconstructs after `invert`.

    Args:
        unet: ε1, or the frozen base.
        scheduler: the DDIM scheduler of the backbone; not changed.
        latents: (B, C, h, w) at `from_level`.
        text: (B, L, D) or (1, L, D).
        steps: of the whole grid.
        from_level: level of the latents; None is `steps`.
        solver: see `EditSettings`.

    Returns:
        Clean latents (B, C, h, w), fp32.
    """
    grid = Grid.of(scheduler, steps)
    latents = latents.float()
    before: Tensor | None = None
    for level in range(grid.steps if from_level is None else from_level, 0, -1):
        output = predict(unet, latents, grid.timestep(level), text)
        cleaner = grid.denoise(latents, output, level)
        if solver == "dpmpp_2m":
            original = grid.original(latents, output, level)
            if before is not None:
                cleaner = cleaner + second_order(grid, level, original, before)
            before = original
        latents = cleaner
    return latents
