"""Deterministic DDIM inversion on the grid that editing shares; see `keyface.diffusion.schedule`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.prediction import predict
from keyface.diffusion.schedule import Grid, grid_of

if TYPE_CHECKING:
    from keyface.diffusion.additions.control import Control

FIRST_LEVEL_CORRECTIONS = 2
"""Further ones of the first level, which has the widest step and no level below to learn from."""


@torch.no_grad()
def invert(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler | Grid,
    latents: Tensor,
    text: Tensor,
    steps: int,
    fixed_point_iterations: int = 1,
    *,
    until: int | None = None,
    levels: Sequence[int] | None = None,
    before_level: Callable[[int], None] | None = None,
    control: "Control | None" = None,
) -> Tensor:
    """Invert by deterministic DDIM, without guidance and without gradient.

    With k fixed-point iterations the output of each level is first extrapolated linearly from those of the
    two levels below, and corrected k times by evaluating it at the latent that it leads to. The first level,
    where there is nothing to extrapolate from, takes three evaluations more: k · until + 3 forwards a latent.
    That is about half the forwards of the usual way, which evaluates anew before each correction.

    Args:
        unet: ε1, or the frozen base.
        scheduler: The DDIM scheduler of the backbone, which is not changed; or the grid itself.
        latents: Clean, (B, C, h, w).
        text: Source prompt, (B, L, D) or (1, L, D).
        steps: Of the whole grid.
        fixed_point_iterations: k.
        until: Last level wanted, 1 … steps; None is all.
        levels: The only ones to visit, ascending, where no exact reconstruction is wanted; replaces `until`.
        before_level: Called with the level before the U-Net runs for it.
        control: As of `predict`.

    Returns:
        Trajectory (visited levels + 1, B, C, h, w), fp32; `[0]` is the input.
    """
    grid = grid_of(scheduler, steps)
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
            output = predict(unet, below, grid.timestep(level), text, control)
            corrections += FIRST_LEVEL_CORRECTIONS if fixed_point_iterations > 0 else 0
        else:
            output = 2 * outputs[-1] - outputs[-2] if len(outputs) > 1 else outputs[-1]
        for _ in range(corrections):
            estimate = grid.invert(below, output, level)
            output = predict(unet, estimate, grid.timestep(level), text, control)
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
    """Return inverted latents (B, C, h, w) at `Grid.of(scheduler, steps).timesteps[timestep_index]`."""
    return invert(unet, scheduler, latents, text, steps, fixed_point_iterations, until=timestep_index + 1)[-1]
