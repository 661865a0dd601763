"""The timesteps of a DDIM run, and its steps in exact fp32 arithmetic in both directions.

A level counts grid points from the clean latent: level 0 is clean, level ℓ ≥ 1 sits at the ℓ-th smallest
timestep of the grid. One denoising step is linear in the latent x and the network's output o,

    x_{ℓ−1} = a_ℓ x_ℓ + b_ℓ o_ℓ,

so its exact inverse is x_ℓ = (x_{ℓ−1} − b_ℓ o_ℓ) / a_ℓ. Only o_ℓ = ε(x_ℓ, t_ℓ) is unknown there.
For ε-prediction this is diffusers' `DDIMInverseScheduler.from_config(ddim.config)`. For v-prediction it is
not: diffusers converts v with the ᾱ of the wrong level, and a constant v does not come back.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class Grid:
    """The timesteps of a DDIM run and their noise levels.

    Attributes:
        timesteps: Ascending; `timesteps[level - 1]` belongs to `level`.
        alphas: ᾱ of the levels 0 … steps, `alphas[0]` that of the clean latent.
        prediction_type: What the network's output means, as in the scheduler's configuration.
    """

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]
    prediction_type: str

    @classmethod
    def of(cls, scheduler: DDIMScheduler, steps: int) -> "Grid":
        """Return the grid of `steps` steps, spaced as the scheduler spaces it, which stays as it is."""
        prediction_type = str(scheduler.config.prediction_type)
        if prediction_type not in PREDICTION_TYPES:
            raise ValueError(
                f"unknown prediction_type {prediction_type!r}; known: {', '.join(PREDICTION_TYPES)}"
            )
        own = copy.deepcopy(scheduler)
        own.set_timesteps(steps)
        timesteps = tuple(sorted(int(t) for t in own.timesteps))
        alphas = tuple(float(scheduler.alphas_cumprod[t]) for t in timesteps)
        if prediction_type == "epsilon" and min(alphas) <= 0.0:
            raise ValueError(
                "ε-prediction cannot start at zero terminal SNR; use v_prediction or leading spacing"
            )
        return cls(timesteps, (float(scheduler.final_alpha_cumprod), *alphas), prediction_type)

    @property
    def steps(self) -> int:
        """Number of steps, which is also the noisiest level."""
        return len(self.timesteps)

    def only(self, levels: Sequence[int]) -> "Grid":
        """Return the grid that visits only these levels, ascending, in wider steps."""
        alphas = (self.alphas[0], *(self.alphas[level] for level in levels))
        return Grid(tuple(self.timestep(level) for level in levels), alphas, self.prediction_type)

    def timestep(self, level: int) -> int:
        """Return the timestep of a level from 1 to `steps`."""
        return self.timesteps[level - 1]

    def coefficients(self, level: int) -> tuple[float, float]:
        """Return (a, b) of x_{level−1} = a x_level + b o, from eq. 12 of the DDIM paper at η = 0."""
        signal, noise = _signal_and_noise(self.alphas[level])
        signal_to, noise_to = _signal_and_noise(self.alphas[level - 1])
        if self.prediction_type == "epsilon":
            return signal_to / signal, noise_to - signal_to * noise / signal
        if self.prediction_type == "v_prediction":
            return signal_to * signal + noise_to * noise, noise_to * signal - signal_to * noise
        return noise_to / noise, signal_to - noise_to * signal / noise

    def denoise(self, latents: Tensor, output: Tensor, level: int) -> Tensor:
        """Return latents (B, C, h, w) one level cleaner: eq. 12 of the DDIM paper at η = 0."""
        a, b = self.coefficients(level)
        return a * latents + b * output

    def invert(self, latents: Tensor, output: Tensor, level: int) -> Tensor:
        """Undo `denoise` exactly: from `level` − 1 to `level`, given the output at `level`."""
        a, b = self.coefficients(level)
        if abs(a) < 1e-6:
            raise ValueError(
                f"the DDIM step to timestep {self.timestep(level)} cannot be inverted with "
                f"{self.prediction_type} and {self.steps} steps; use more steps, ε- or v-prediction"
            )
        return (latents - b * output) / a

    def original(self, latents: Tensor, output: Tensor, level: int) -> Tensor:
        """Return x̂0 (B, C, h, w) from the network's output at a level."""
        return original_of(latents, output, self.alphas[level], self.prediction_type)


def grid_of(scheduler: DDIMScheduler | Grid, steps: int) -> Grid:
    """Return a scheduler's grid of so many steps; a grid as it is."""
    return scheduler if isinstance(scheduler, Grid) else Grid.of(scheduler, steps)


def even_timesteps(start: Tensor, steps: int) -> list[Tensor]:
    """Return `steps` timesteps (B,) from `start` (B,) towards 0 in even strides, for latents off a grid."""
    return [(start * (steps - step)).div(steps, rounding_mode="floor") for step in range(steps)]


def grid_timesteps(scheduler: DDIMScheduler, start: Tensor, steps: int) -> list[Tensor]:
    """Return the grid's timesteps (B,) from `start` (B,) down: the way back of an inversion.

    Args:
        scheduler: Spaces the grid.
        start: The timestep of the latents, the same for all of them.
        steps: Of the whole grid.
    """
    below = [t for t in Grid.of(scheduler, steps).timesteps if t <= int(start[0])]
    return [torch.full_like(start, t) for t in reversed(below)]


def alphas_at(scheduler: DDIMScheduler, timesteps: Tensor, like: Tensor) -> Tensor:
    """Return ᾱ of timesteps (B,) or (), fp32, shaped to broadcast over latents (B, C, h, w)."""
    # Without waiting for the device: the table lies on the CPU, and stays as it is.
    table = scheduler.alphas_cumprod.to(like.device, non_blocking=True)
    alphas: Tensor = table[timesteps.to(like.device, non_blocking=True)]
    return alphas.float().reshape(-1, *([1] * (like.ndim - 1)))


def original_of(latents: Tensor, output: Tensor, alpha: Any, prediction_type: str) -> Tensor:
    """Return x̂0 from a network's output; `alpha` (ᾱ) is a number or broadcasts to the latents."""
    signal, noise = alpha**0.5, (1.0 - alpha) ** 0.5
    original: Tensor = output
    if prediction_type == "epsilon":
        original = (latents - noise * output) / signal
    elif prediction_type == "v_prediction":
        original = signal * latents - noise * output
    return original


def _signal_and_noise(alpha: float) -> tuple[float, float]:
    return math.sqrt(alpha), math.sqrt(1.0 - alpha)
