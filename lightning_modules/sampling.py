"""Noisy latents to learn from, and DDIM sampling that gradients pass through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import Grid, invert_to, predict_original


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
    timesteps = torch.tensor(grid.timesteps)[levels - 1].to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    alphas = _broadcast(backbone.scheduler.alphas_cumprod.to(latents.device)[timesteps], latents)
    return alphas.sqrt() * latents + (1 - alphas).sqrt() * noise, timesteps


def even_timesteps(start: Tensor, steps: int) -> list[Tensor]:
    """``steps`` timesteps (B,) from ``start`` towards 0 in even strides: the way down for cached latents."""
    return [(start * (steps - step)).div(steps, rounding_mode="floor") for step in range(steps)]


def grid_timesteps(scheduler: DDIMScheduler, start: Tensor, steps: int) -> list[Tensor]:
    """The grid's timesteps (B,) from ``start`` down: the way back on the grid of the inversion."""
    below = [t for t in Grid.of(scheduler, steps).timesteps if t <= int(start[0])]
    return [torch.full_like(start, t) for t in reversed(below)]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: ``output = negative + scale · (positive − negative)``.

    Attributes:
        negative: Text embeddings (B, L, D) to move away from; the source captions in keyface.
        scale: 1 is none.
    """

    negative: Tensor
    scale: float


def sample(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    latents: Tensor,
    timesteps: Sequence[Tensor],
    text: Tensor,
    *,
    guidance: Guidance | None = None,
    gradient_steps: int | None = None,
    checkpointed: bool = False,
) -> Tensor:
    """Deterministic DDIM from a noisy latent to a clean one; each image may have its own timesteps.

    The last step goes all the way to x̂0, so one step is the one-step estimate. The negative branch of
    guidance takes no part in the gradient: what a branch learns, it learns through its own prompt.

    Args:
        unet: The U-Net in training.
        scheduler: Its noise levels and prediction type.
        latents: (B, C, h, w) at ``timesteps[0]``.
        timesteps: Descending, each (B,) int64.
        text: (B, L, D).
        guidance: None for none.
        gradient_steps: Only so many last steps keep their gradient; None: all.
        checkpointed: Recompute each step in the backward pass.

    Returns:
        x̂0, (B, C, h, w), fp32.
    """
    first_with_gradient = 0 if gradient_steps is None else len(timesteps) - gradient_steps
    original = latents = latents.float()
    for index, timestep in enumerate(timesteps):
        keep = torch.is_grad_enabled() and index >= first_with_gradient
        with torch.set_grad_enabled(keep):
            if checkpointed and keep:
                output = checkpoint(predict_at, unet, latents, timestep, text, use_reentrant=False)
            else:
                output = predict_at(unet, latents, timestep, text)
            if guidance is not None and guidance.scale != 1.0:
                with torch.no_grad():
                    negative = predict_at(unet, latents, timestep, guidance.negative)
                output = negative + guidance.scale * (output - negative)
            original = predict_original(output, latents, timestep, scheduler)
            if index + 1 < len(timesteps):
                latents = renoise(original, latents, timestep, timesteps[index + 1], scheduler)
    return original


def predict_at(unet: UNet2DConditionModel, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    """The U-Net's output (B, C, h, w), fp32, where each latent has its own timestep (B,)."""
    output: Tensor = unet(latents, timestep, encoder_hidden_states=text).sample
    return output.float()


def renoise(
    original: Tensor, latents: Tensor, timestep: Tensor, following: Tensor, scheduler: DDIMScheduler
) -> Tensor:
    """DDIM's step (η = 0) from one timestep to the following, cleaner one, each (B,)."""
    alphas_cumprod = scheduler.alphas_cumprod.to(latents.device)
    alpha = _broadcast(alphas_cumprod[timestep], latents)
    alpha_following = _broadcast(alphas_cumprod[following], latents)
    noise = (latents - alpha.sqrt() * original) / (1 - alpha).sqrt()
    return alpha_following.sqrt() * original + (1 - alpha_following).sqrt() * noise


def _broadcast(values: Tensor, like: Tensor) -> Tensor:
    return values.float().view(-1, *([1] * (like.dim() - 1)))
