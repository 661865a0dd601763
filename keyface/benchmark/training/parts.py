"""The parts of a training step, each run by itself, forward and backward."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import ImagePath, sample
from keyface.diffusion.schedule import even_timesteps
from keyface.lightning_modules.branch import Batch, BranchModule
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.losses import DirectionTerms, IdentityTerms

PARTS: tuple[str, ...] = ("unet", "decoder", "judge", "optimizer")
"""All forwards of the tuned U-Net and its backward; the autoencoder's decoder; ArcFace (Eq. 5) or CLIP
(Eq. 6) with the loss; clipping, the optimizer's step and the moving average."""

CLIP_NORM = 1.0
"""Gradient clipping of the shipped configs."""

_TARGET = "a photo of a young woman with blond hair"


def parts_of(module: BranchModule, batch: Batch, precision: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return what to call to run each of `PARTS` once.

    Args:
        module: A module that has been trained, on its device.
        batch: On the device.
        precision: fp32, or what autocast uses.
    """
    backbone, device = module.backbone, batch["image"].device
    with torch.no_grad():
        text = backbone.encode_prompts(batch["caption"])
    images = batch["image"].clone().requires_grad_()
    latents = batch["latent"].clone().requires_grad_()
    parameters = module.trained_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=0.0)

    def mixed() -> Any:
        return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)

    def unet() -> None:
        steps, kept = _sampling(module)
        with mixed():
            original = sample(
                partial(Guidance(text).predict_learning, module.unet),
                batch["inverted"],
                ImagePath(backbone.scheduler, even_timesteps(batch["timestep"], steps)),
                gradient_steps=kept,
            )
        torch.autograd.backward(original.sum())
        _forget(parameters)

    def decoder() -> None:
        with mixed():
            decoded = module.decode(latents)
        torch.autograd.backward(decoded.sum())
        latents.grad = None

    def judge() -> None:
        with mixed():
            loss = _judged(module, images, batch)
        torch.autograd.backward(loss)
        images.grad = None

    def step() -> None:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        if module.ema is not None:
            module.ema.update(parameters)

    return {"unet": unet, "decoder": decoder, "judge": judge, "optimizer": step}


def _sampling(module: BranchModule) -> tuple[int, int | None]:
    """Return the steps from z_t to the clean latent, and how many of the last ones keep their gradient."""
    if isinstance(module, DirectionModule):
        return module.generation_steps, module.gradient_steps
    assert isinstance(module, IdentityModule)
    return module.unroll_steps, None


def _judged(module: BranchModule, images: Tensor, batch: Batch) -> Tensor:
    if isinstance(module, DirectionModule):
        count = len(images)
        edited: DirectionTerms = module.loss(images, batch["image"], [_TARGET] * count, batch["caption"])
        return edited.total
    assert isinstance(module, IdentityModule)
    kept: IdentityTerms = module.loss(images, batch["image"], batch["landmarks"])
    return kept.total


def _forget(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
