"""Attention kernels, U-Net and autoencoder at Stable Diffusion 2.1's shapes, in each precision."""

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from keyface.benchmark.gpu.bench import Bench, Results, tf32
from keyface.benchmark.sd21 import build_backbone, build_unet, build_vae
from keyface.diffusion.precision import accelerate
from keyface.editing.attention import KeyframeAttention, KeyframeState, processors
from keyface.editing.parts import SELF_ATTENTION

HEADS = ((5, 64), (10, 64), (8, 40), (8, 80))
"""Heads and their width: the finest two levels of Stable Diffusion 2.1 and of 1.5."""

KEYFRAMES = 10
"""Keyframes and anchors that attend to each other: a window of 8 and 2 anchors."""

WAYS = (
    ("fp32", torch.float32, False, False),
    ("tf32", torch.float32, True, False),
    ("bf16", torch.bfloat16, True, False),
    ("bf16 channels_last", torch.bfloat16, True, True),
    ("fp16 channels_last", torch.float16, True, True),
)
"""Name, precision of the weights, whether TF32 is allowed, whether channels lie innermost."""


def ways(bench: Bench) -> tuple[tuple[str, torch.dtype, bool, bool], ...]:
    """Return those of `WAYS` that a device can go."""
    return WAYS if bench.on_gpu else WAYS[:1]


def laid_out(network: nn.Module, dtype: torch.dtype, last: bool) -> Any:
    """Return a copy of a network in a precision and layout."""
    own = nn.Module.to(copy.deepcopy(network), dtype)
    return own.to(memory_format=torch.channels_last) if last else own


def attention_kernels(bench: Bench) -> Results:
    """Return kernel and TFLOP/s of joint attention, by heads and precision."""
    found: Results = {}
    for heads, width in HEADS[:1] if bench.dry else HEADS:
        tokens = 64 if bench.dry else (4096 if heads in (5, 8) and width in (64, 40) else 1024)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            if not bench.on_gpu and name != "fp32":
                continue
            # As joint attention makes them: q and k of ε1 are the same in both branches.
            shape = (KEYFRAMES * tokens, heads * width)
            shared = torch.randn(1, *shape, device=bench.device, dtype=dtype).expand(2, -1, -1)
            own = torch.randn(2, *shape, device=bench.device, dtype=dtype)

            query, value = (
                each.view(2, KEYFRAMES * tokens, heads, width).transpose(1, 2) for each in (shared, own)
            )
            attend = partial(F.scaled_dot_product_attention, query, query, value)
            seconds = bench.clock(attend, 3)
            work = 4 * 2 * (KEYFRAMES * tokens) ** 2 * heads * width
            found[f"{heads}x{width} {name}"] = {
                "kernel": _slowest_kernel(bench, attend),
                "tflops": round(work / seconds / 1e12, 2),
            }
    return found


def _slowest_kernel(bench: Bench, call: Callable[[], object]) -> str | None:
    if not bench.on_gpu:
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        bench.synchronize()
    return str(max(profile.key_averages(), key=lambda each: each.device_time_total).key)[:80]


class Given:
    """Self-attention whose output is given, as of frames between keyframes: what remains of the U-Net."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the input."""
        return hidden_states


def unet(bench: Bench) -> Results:
    """Return seconds a frame and branch, and memory, by precision and kind of attention."""
    with torch.device(bench.device):
        torch.manual_seed(0)
        base = build_unet(bench.dry).requires_grad_(False)
    return {
        name: _unet_row(bench, laid_out(base, dtype, last), dtype, allowed)
        for name, dtype, allowed, last in ways(bench)
    }


@torch.no_grad()
def _unet_row(bench: Bench, network: UNet2DConditionModel, dtype: torch.dtype, allowed: bool) -> Results:
    side, width = bench.size // 8, network.config.cross_attention_dim
    row: Results = {}
    kinds: dict[str, tuple[int, Callable[[str], Any] | None]] = {
        "plain": (16, None),
        "propagated": (32, lambda _: Given()),
        "joint": (2 * KEYFRAMES, lambda name: KeyframeAttention(name, state)),
    }
    state = KeyframeState(("negative", "target"))
    for kind, (rows, make) in kinds.items():
        count = 4 if bench.dry else rows
        latents = torch.randn(count, 4, side, side, device=bench.device, dtype=dtype)
        text = torch.randn(count, 77, width, device=bench.device, dtype=dtype)
        bench.reset_peak()
        attending: AbstractContextManager[Any] = (
            processors(network, SELF_ATTENTION, make) if make else nullcontext()
        )
        with tf32(allowed), attending:
            seconds = bench.clock(partial(network, latents, 501, encoder_hidden_states=text), 3)
        row[kind] = {"seconds_a_frame": round(seconds / count, 6), "peak_gb": bench.peak_gb()}
    return row


@torch.no_grad()
def autoencoder(bench: Bench) -> Results:
    """Return seconds a frame of decoding and encoding, by precision."""
    with torch.device(bench.device):
        base = build_vae(bench.dry).requires_grad_(False)
    found: Results = {}
    count = 2 if bench.dry else 16
    for name, dtype, allowed, last in ways(bench)[:4]:
        network = laid_out(base, dtype, last)
        size = bench.size
        latents = torch.randn(count, 4, size // 8, size // 8, device=bench.device, dtype=dtype)
        images = torch.rand(count, 3, size, size, device=bench.device, dtype=dtype) * 2 - 1
        bench.reset_peak()
        with tf32(allowed):
            decode = bench.clock(partial(network.decode, latents), 3)
            encode = bench.clock(partial(network.encode, images), 3)
        found[name] = {
            "decode": round(decode / count, 6),
            "encode": round(encode / count, 6),
            "peak_gb": bench.peak_gb(),
        }
    return found


def compiled(bench: Bench) -> Results:
    """Return how long a U-Net takes to compile, and how fast it is then."""
    backbone = build_backbone(str(bench.device), shrunk=bench.dry)
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    accelerate(
        backbone,
        [],
        dtype=dtype,
        channels_last=True,
        compiled=True,
        backend="inductor" if bench.on_gpu else "eager",
    )
    network, side, rows = backbone.unet, bench.size // 8, 4 if bench.dry else 16
    latents = torch.randn(rows, 4, side, side, device=bench.device, dtype=dtype)
    text = torch.randn(rows, 77, network.config.cross_attention_dim, device=bench.device, dtype=dtype)

    @torch.no_grad()
    def run() -> None:
        network(latents, 501, encoder_hidden_states=text)

    began = time.perf_counter()
    run()
    bench.synchronize()
    first = time.perf_counter() - began
    return {"first_seconds": round(first, 1), "seconds_a_frame": round(bench.clock(run) / rows, 6)}
