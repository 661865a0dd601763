"""A U-Net whose trained weights are spread over processes (FSDP2), for Lightning's ModelParallelStrategy."""

from collections.abc import Mapping

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor


def shard(unet: UNet2DConditionModel, mesh: DeviceMesh) -> None:
    """Spread weights, gradients and optimizer state over processes; each block is gathered when it runs.

    Args:
        unet: Changed in place; its parameters are others afterwards.
        mesh: One dimension of processes.
    """
    for part in (*unet.down_blocks, unet.mid_block, *unet.up_blocks, unet):
        # Where no backward pass follows, as in validation, the outermost would otherwise stay gathered, and
        # whoever then asks for the parameters, as their moving average does, would get tensors of two kinds.
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def is_sharded(module: nn.Module) -> bool:
    """Say whether a network is spread over processes."""
    return isinstance(module, FSDPModule)


def gathered(state: Mapping[str, Tensor], dtype: torch.dtype, keep: bool = True) -> dict[str, Tensor]:
    """Copy weights to the CPU, gathered where they are spread; every process must take part.

    Args:
        state: Weights by name, the same on every process.
        dtype: Of the copies.
        keep: Whether this process wants them; without, it holds one gathered weight at a time and returns
            nothing.
    """
    whole: dict[str, Tensor] = {}
    for name, value in state.items():
        tensor = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            whole[name] = tensor.to("cpu", dtype, copy=True)
    return whole
