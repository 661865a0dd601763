"""What a training step would need, from shapes alone: nothing is computed and nothing is allocated."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from keyface.benchmark.training.networks import build_module
from keyface.benchmark.training.request import TrainRequest
from keyface.lightning_modules.tuning.memory import without_values

_BYTES, _ADAM = 4, 8


def estimate(request: TrainRequest) -> dict[str, Any]:
    """Return parameters, and memory in GB (10⁹ bytes).

    Activations are the most that a step holds at once beside weights, gradients and optimizer, in the
    request's precision and with its recomputing, see `keyface.lightning_modules.tuning.memory`. What
    libraries need for themselves comes on top.
    """
    place = "meta" if request.scale == "sd21" else "cpu"
    module = build_module(replace(request, device=place))
    cells = request.size // module.backbone.downscale
    trained = sum(parameter.numel() for parameter in module.trained_parameters())
    weights = sum(parameter.numel() for parameter in module.parameters()) * _BYTES
    if place == "meta":
        without_values(module, "cpu")
    step = module.step_memory(request.batch_size, request.size, lambda: _precision(request))
    activations = step.peak - trained * _BYTES
    learning = trained * (_BYTES + _ADAM)
    return {
        "branch": request.branch,
        "tuning": request.tuning,
        "batch_size": request.batch_size,
        "size": request.size,
        "dtype": request.dtype,
        "checkpointed": request.gradient_checkpointing,
        "latent": f"{request.batch_size}x{module.backbone.latent_channels}x{cells}x{cells}",
        "unet_parameters": sum(parameter.numel() for parameter in module.backbone.unet.parameters()),
        "trained": trained,
        "gb_weights": weights / 1e9,
        "gb_gradients_adam": learning / 1e9,
        "gb_activations": activations / 1e9,
        "gb_estimated": (weights + learning + activations) / 1e9,
    }


def _precision(request: TrainRequest) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if request.dtype == "bf16" else nullcontext()
