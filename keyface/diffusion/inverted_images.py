"""Latents of images, and inverted ones at a few noise levels: what training reads from shards."""

from typing import NamedTuple

import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid


class InvertedImages(NamedTuple):
    """What is kept of B images.

    Attributes:
        latent: (B, C, h, w), clean, scaled.
        inverted: (B, K, C, h, w), from the cleanest level to the noisiest.
        timesteps: (K,) int64.
    """

    latent: Tensor
    inverted: Tensor
    timesteps: Tensor


def kept_levels(steps: int, count: int, lowest: float = 0.0, highest: float = 1.0) -> list[int]:
    """Choose levels of a grid, spread evenly.

    Args:
        steps: Steps of the grid.
        count: How many levels; fewer where the grid has no more.
        lowest: The levels lie above this fraction of the grid.
        highest: The last level, as a fraction of the grid; 1 is pure noise.

    Example:
        >>> kept_levels(50, 5, highest=0.8)
        [8, 16, 24, 32, 40]
    """
    if steps < 1 or count < 1 or not 0.0 <= lowest < highest <= 1.0:
        raise ValueError(
            f"steps and levels must be at least 1 and 0 <= lowest < highest <= 1, "
            f"not {steps}, {count}, {lowest}, {highest}"
        )
    parts = (lowest + (highest - lowest) * part / count for part in range(1, count + 1))
    return sorted({max(1, round(steps * part)) for part in parts})


@torch.no_grad()
def invert_images(
    backbone: Backbone,
    images: Tensor,
    captions: list[str],
    steps: int,
    levels: list[int],
    fixed_point_iterations: int = 1,
) -> InvertedImages:
    """Encode images and invert their latents with the backbone's own U-Net and their captions.

    Args:
        backbone: The frozen base.
        images: (B, 3, H, W) in [-1, 1].
        captions: B source prompts.
        steps: Steps of the inversion's grid.
        levels: Which to keep, ascending, each from 1 to `steps`.
        fixed_point_iterations: Corrections of each inversion step.
    """
    clean = backbone.encode_images(images)
    text = backbone.encode_prompts(captions)
    trajectory = invert(
        backbone.unet,
        backbone.scheduler,
        clean,
        text,
        steps,
        fixed_point_iterations,
        until=levels[-1],
    )
    grid = Grid.of(backbone.scheduler, steps)
    timesteps = torch.tensor([grid.timestep(level) for level in levels])
    return InvertedImages(clean, trajectory[levels].transpose(0, 1), timesteps)
