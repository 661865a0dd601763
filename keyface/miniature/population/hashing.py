"""Random numbers that depend on what they are for and not on the order in which they are asked."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift logically: torch shifts int64 arithmetically, so the copied sign bits are masked away."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def mix(value: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer, int64 → int64: every input bit reaches every output bit."""
    value = value + _GOLDEN
    value = (value ^ _shift_right(value, 30)) * _MIX_1
    value = (value ^ _shift_right(value, 27)) * _MIX_2
    return value ^ _shift_right(value, 31)


def key(*parts: Tensor | int) -> Tensor:
    """Fold integers and (B,) int64 tensors into one (B,) key."""
    result = torch.zeros((), dtype=torch.int64)
    for part in parts:
        result = mix(result ^ torch.as_tensor(part, dtype=torch.int64))
    return result


def uniform(keys: Tensor, count: int) -> Tensor:
    """Draw `count` independent numbers in [0, 1) for each key: (B,) → (B, count) float32."""
    streams = mix(torch.arange(1, count + 1, dtype=torch.int64))
    bits = mix(keys[:, None] ^ streams[None, :])
    return _shift_right(bits, 40).to(torch.float32) / float(1 << 24)
