"""Noisy latents to learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert_to
from keyface.diffusion.schedule import Grid, alphas_at


@dataclass(frozen=True)
class NoisyInput:
    """Where the noisy latent z_t of an image comes from.

    Attributes:
        source: `cached`: the inverted latents and timesteps of the batch, made beforehand with the frozen
            base; `inverted`: inverted now with the frozen base; `noise`: plain noise, the cheapest.
        steps: Steps of the inversion's grid.
        lowest: Lowest noise level drawn, as a fraction of the grid; cached latents have those levels that
            `keyface shards invert --lowest … --highest …` kept.
        highest: Highest noise level drawn, as a fraction of the grid; 1 is pure noise.
        fixed_point_iterations: Corrections of each inversion step.
    """

    source: Literal["cached", "inverted", "noise"] = "inverted"
    steps: int = 50
    lowest: float = 0.0
    highest: float = 1.0
    fixed_point_iterations: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.lowest <= self.highest <= 1.0 or self.steps < 1:
            raise ValueError(
                f"noisy input: 0 <= lowest <= highest <= 1 and steps >= 1 are needed, "
                f"not lowest {self.lowest}, highest {self.highest}, steps {self.steps}"
            )

    @classmethod
    def of(cls, settings: "NoisyInput | Mapping[str, Any]") -> "NoisyInput":
        """Accept the plain dictionary that a checkpoint's hyper-parameters hold."""
        return settings if isinstance(settings, NoisyInput) else cls(**settings)

    def levels(self) -> tuple[int, int]:
        """Return the first and last grid level drawn, counted from 1."""
        return max(1, round(self.lowest * self.steps)), max(1, round(self.highest * self.steps))


INVERTED = NoisyInput()
"""Inverted with the frozen base at any of 50 noise levels."""


def noisy_latents(
    settings: NoisyInput,
    backbone: Backbone,
    batch: dict[str, Any],
    latents: Tensor,
    text: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return z_t and t of every image, without gradient.

    Args:
        settings: Where they come from.
        backbone: The frozen base.
        batch: Holds `inverted` and `timestep` for `cached`.
        latents: Clean latents (B, C, h, w).
        text: Source prompts (B, L, D).
        generator: Draws the noise levels, on the CPU.

    Returns:
        (B, C, h, w) and (B,) int64.
    """
    if settings.source == "cached":
        if "inverted" not in batch:
            raise ValueError(
                "noisy_input.source is 'cached' but the shards hold no inverted latents; "
                "add them by `keyface shards invert`, set data.with_latents to true, or use 'inverted'"
            )
        return batch["inverted"].float(), batch["timestep"].long()
    count = len(latents)
    grid = Grid.of(backbone.scheduler, settings.steps)
    first, last = settings.levels()
    if settings.source == "inverted":  # one level for the batch, since inversion is a walk along the grid
        level = int(torch.randint(first, last + 1, (1,), generator=generator))
        timesteps = torch.full((count,), grid.timestep(level), device=latents.device)
        iterations = settings.fixed_point_iterations
        with torch.no_grad():
            noisy = invert_to(
                backbone.unet, backbone.scheduler, latents, text, level - 1, settings.steps, iterations
            )
        return noisy, timesteps
    levels = torch.randint(first, last + 1, (count,), generator=generator)
    timesteps = torch.tensor(grid.timesteps)[levels - 1].to(latents.device, non_blocking=True)
    noise = torch.randn(latents.shape, generator=generator).to(latents, non_blocking=True)
    alphas = alphas_at(backbone.scheduler, timesteps, latents)
    return alphas.sqrt() * latents + (1 - alphas).sqrt() * noise, timesteps
