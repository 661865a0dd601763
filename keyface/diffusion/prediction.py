"""What a U-Net predicts at a noise level: its output, and the clean latent x̂0 that follows from it."""

from typing import TYPE_CHECKING

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.schedule import alphas_at, original_of

if TYPE_CHECKING:
    from keyface.diffusion.additions.control import Control

Timestep = int | Tensor
"""One timestep for a whole batch, or (B,) int64, one for each latent."""


def predict(
    unet: UNet2DConditionModel,
    latents: Tensor,
    timestep: Timestep,
    text: Tensor,
    control: "Control | None" = None,
) -> Tensor:
    """Return the U-Net's output in fp32, whatever precision it runs in; differentiable.

    Args:
        unet: Any `UNet2DConditionModel`.
        latents: (B, C, h, w).
        timestep: Of the latents.
        text: (B, L, D) or (1, L, D).
        control: A ControlNet with the control images of these latents' frames; None for none.

    Returns:
        (B, C, h, w), fp32.
    """
    text = text.to(latents.device, unet.dtype).expand(latents.shape[0], -1, -1)
    if not isinstance(timestep, Tensor):
        # a compiled U-Net has one graph for all numbers in a tensor, and one for each Python number
        timestep = torch.full((), timestep, dtype=torch.int64, device=latents.device)
    latents = latents.to(unet.dtype)
    residuals = {} if control is None else control.residuals(latents, timestep, text)
    output: Tensor = unet(latents, timestep, encoder_hidden_states=text, **residuals).sample
    return output.float()


def predict_original(
    model_output: Tensor, latents: Tensor, timesteps: Tensor, scheduler: DDIMScheduler
) -> Tensor:
    """Return the one-step estimate x̂0 of the clean latent; differentiable.

    Args:
        model_output: (B, C, h, w), what the U-Net gave.
        latents: (B, C, h, w), what it was given.
        timesteps: (B,) or (), int64.
        scheduler: Its `prediction_type` says what the output means: epsilon, v_prediction or sample.

    Returns:
        (B, C, h, w), fp32.
    """
    alphas = alphas_at(scheduler, timesteps, latents)
    kind = str(scheduler.config.prediction_type)
    return original_of(latents.float(), model_output.float(), alphas, kind)
