"""Tells whether a picture could be one of the miniature's rendered faces."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.prediction import predict, predict_original

TIMESTEPS = (400, 600, 800)

LIMIT = 0.5
"""Surprise above which a picture is not taken for a rendered face: figures in docs/results.md."""


@torch.no_grad()
def surprise(backbone: Backbone, images: Tensor) -> Tensor:
    """Measure how badly the U-Net guesses the pictures from their noised latents.

    The reconstruction PSNR cannot tell strangers: the autoencoder's principal components fit any picture, and
    inversion returns whatever it was given. What the U-Net expects behind noise is another matter.

    Args:
        backbone: The miniature's base.
        images: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,) mean squared error of the one-step x̂0 without a prompt, over `TIMESTEPS` and one fixed noise.
    """
    latents = backbone.encode_images(images)
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(0)).to(latents)
    text = backbone.encode_prompts([""])
    errors = []
    for timestep in TIMESTEPS:
        alpha = float(backbone.scheduler.alphas_cumprod[timestep])
        noisy = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
        output = predict(backbone.unet, noisy, timestep, text)
        original = predict_original(output, noisy, torch.tensor(timestep), backbone.scheduler)
        errors.append((original - latents).square().mean((1, 2, 3)))
    return torch.stack(errors).mean(0)
