"""Deterministic DDIM sampling: one loop, from a noisy latent down a path to a cleaner one.

A path says which timesteps the loop visits and how a step is computed. `GridPath` walks the grid of the
inversion, one level after the other for the whole batch, in the arithmetic that inverts it. `ImagePath`
gives every image timesteps of its own, as training needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.prediction import Timestep, predict, predict_original
from keyface.diffusion.schedule import Grid, alphas_at, grid_of
from keyface.diffusion.solvers import Solver, solver_step

if TYPE_CHECKING:
    from keyface.diffusion.additions.control import Control

Predict = Callable[[Tensor, Timestep], Tensor]
"""The U-Net's output (B, C, h, w) for latents (B, C, h, w) at a timestep, guided or not."""


class Path(Protocol):
    """Timesteps from the noisiest down, and what each step computes."""

    @property
    def timesteps(self) -> Sequence[Timestep]:
        """Timesteps at which the U-Net runs, descending."""

    def step(
        self, index: int, latents: Tensor, output: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Take a step.

        Args:
            index: Of the step; 0 is the noisiest.
            latents: (B, C, h, w) at `timesteps[index]`.
            output: The U-Net's output there.
            before: What the step before told this one; None in the first.

        Returns:
            The cleaner latents, and what to tell the next step.
        """


@dataclass(frozen=True)
class GridPath:
    """The levels of a grid from one of them down to the clean latent.

    Attributes:
        grid: The grid, that of the inversion.
        from_level: Level of the latents at the start.
        solver: How a step is made of the predictions.
    """

    grid: Grid
    from_level: int
    solver: Solver = "ddim"

    @property
    def timesteps(self) -> Sequence[int]:
        """Timesteps of the levels from `from_level` down to 1."""
        return [self.grid.timestep(level) for level in range(self.from_level, 0, -1)]

    def step(
        self, index: int, latents: Tensor, output: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Go one level down; what the next step is told is x̂0 as predicted here."""
        return solver_step(self.solver, self.grid, latents, output, self.from_level - index, before)


@dataclass(frozen=True)
class ImagePath:
    """Timesteps of each image's own.

    Attributes:
        scheduler: Its noise levels and prediction type.
        timesteps: Descending, each (B,) int64.
        until: Timesteps (B,) at which the path ends; None goes all the way to x̂0, so that a path of one step
            gives the one-step estimate.
    """

    scheduler: DDIMScheduler
    timesteps: Sequence[Tensor]
    until: Tensor | None = None

    def step(
        self, index: int, latents: Tensor, output: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Go from one timestep to the following one; nothing is told to the next step."""
        here = self.timesteps[index]
        original = predict_original(output, latents, here, self.scheduler)
        is_last = index + 1 == len(self.timesteps)
        following = self.until if is_last else self.timesteps[index + 1]
        if following is None:
            return original, None
        return renoise(original, latents, here, following, self.scheduler), None


def sample(predict: Predict, latents: Tensor, path: Path, *, gradient_steps: int | None = None) -> Tensor:
    """Denoise latents along a path, deterministically.

    Args:
        predict: The network with its prompts, as `functools.partial(guidance.predict, unet)`.
        latents: (B, C, h, w) at the path's first timestep.
        path: Where to go.
        gradient_steps: Only so many last steps keep their gradient; None: all.

    Returns:
        (B, C, h, w) at the end of the path, fp32.
    """
    timesteps = path.timesteps
    first_with_gradient = 0 if gradient_steps is None else len(timesteps) - gradient_steps
    latents, before = latents.float(), None
    for index, timestep in enumerate(timesteps):
        with torch.set_grad_enabled(torch.is_grad_enabled() and index >= first_with_gradient):
            output = predict(latents, timestep)
            latents, before = path.step(index, latents, output, before)
    return latents


def denoise(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler | Grid,
    latents: Tensor,
    text: Tensor,
    steps: int,
    from_level: int | None = None,
    solver: Solver = "ddim",
    control: "Control | None" = None,
) -> Tensor:
    """Denoise without guidance, one forward a step; `ddim` reconstructs after `invert`.

    Args:
        unet: ε1, or the frozen base.
        scheduler: The DDIM scheduler of the backbone, which is not changed; or the grid itself.
        latents: (B, C, h, w) at `from_level`.
        text: (B, L, D) or (1, L, D).
        steps: Of the whole grid.
        from_level: Level of the latents; None is `steps`.
        solver: How a step is made of the predictions.
        control: As of `predict`.

    Returns:
        Clean latents (B, C, h, w), fp32.
    """
    grid = grid_of(scheduler, steps)
    path = GridPath(grid, grid.steps if from_level is None else from_level, solver)
    return sample(lambda noisy, timestep: predict(unet, noisy, timestep, text, control), latents, path)


def renoise(
    original: Tensor, latents: Tensor, timestep: Tensor, following: Tensor, scheduler: DDIMScheduler
) -> Tensor:
    """Return the latents one DDIM step (η = 0, eq. 12 of the DDIM paper) further down.

    Args:
        original: x̂0 (B, C, h, w), as predicted at `timestep`.
        latents: (B, C, h, w) at `timestep`.
        timestep: (B,) int64.
        following: (B,) int64, cleaner ones.
        scheduler: Its noise levels.
    """
    alpha, alpha_following = (alphas_at(scheduler, each, latents) for each in (timestep, following))
    noise = (latents - alpha.sqrt() * original) / (1 - alpha).sqrt()
    return alpha_following.sqrt() * original + (1 - alpha_following).sqrt() * noise
