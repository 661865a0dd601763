"""What a training step would need, from shapes alone: nothing is computed and nothing is allocated."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from keyface.benchmark.training.networks import build_batch, build_module
from keyface.benchmark.training.parts import parts_of
from keyface.benchmark.training.request import TrainRequest

_FACE = 112
_WITH_ACTIVATIONS = ("unet", "decoder", "judge")
_BYTES, _ADAM = 4, 8


def estimate(request: TrainRequest) -> dict[str, Any]:
    """Return parameters, and memory in GB (10⁹ bytes), all in fp32.

    Activations are what autograd keeps of the U-Net, the decoder and the judge: together without gradient
    checkpointing, else at most the largest of the three. bf16 about halves them. What libraries need for
    themselves comes on top.
    """
    place = "meta" if request.scale == "sd21" else "cpu"
    # Checkpoints hide from autograd's hooks what they recompute.
    module = build_module(replace(request, device=place, gradient_checkpointing=False))
    batch = build_batch(request, module.backbone)
    batch = {name: value.to(place) if isinstance(value, Tensor) else value for name, value in batch.items()}
    parts = parts_of(module, batch, torch.float32)
    if place == "meta" and request.branch == "identity":
        # The warp looks at its landmarks, which shapes alone do not have.
        faces = torch.empty(request.batch_size, 3, _FACE, _FACE, device=place)
        parts["judge"] = parts_of(module, {**batch, "image": faces, "landmarks": None}, torch.float32)[
            "judge"
        ]
    kept = {name: saved_bytes(parts[name], module) for name in _WITH_ACTIVATIONS}
    activations = max(kept.values()) if request.gradient_checkpointing else sum(kept.values())
    trained = sum(parameter.numel() for parameter in module.trained_parameters())
    weights = sum(parameter.numel() for parameter in module.parameters()) * _BYTES
    learning = trained * (_BYTES + _ADAM)
    return {
        "branch": request.branch,
        "tuning": request.tuning,
        "batch_size": request.batch_size,
        "size": request.size,
        "checkpointed": request.gradient_checkpointing,
        "latent": "x".join(map(str, batch["latent"].shape)),
        "unet_parameters": sum(parameter.numel() for parameter in module.unet.parameters()),
        "trained": trained,
        "gb_weights": weights / 1e9,
        "gb_gradients_adam": learning / 1e9,
        **{f"gb_{name}": kept[name] / 1e9 for name in _WITH_ACTIVATIONS},
        "gb_estimated": (weights + learning + activations) / 1e9,
    }


def saved_bytes(part: Callable[[], object], module: torch.nn.Module) -> int:
    """Count the bytes that autograd keeps for the backward pass of a part, without the weights."""
    weights = [parameter.untyped_storage() for parameter in module.parameters()]
    known = {id(storage) for storage in weights}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in known:
            kept[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        part()
    return sum(storage.nbytes() for storage in kept.values())
