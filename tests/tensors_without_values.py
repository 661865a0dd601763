"""Weights without values, for networks that are too large for a test."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


def without_values(module: nn.Module, device: str) -> None:
    """Give a module on the meta device weights without values on another."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    fresh = torch.empty_like(value, device=device)
                    part._parameters[name] = nn.Parameter(fresh, requires_grad=value.requires_grad)
            for name, value in part._buffers.items():
                if value is not None:
                    part._buffers[name] = torch.empty_like(value, device=device)
