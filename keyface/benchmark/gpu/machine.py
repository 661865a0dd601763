"""The machine: its names, and how fast it multiplies matrices."""

import importlib.metadata
from functools import partial

import torch

from keyface.benchmark.gpu.bench import Bench, Results, tf32

PACKAGES = ("torch", "diffusers", "transformers", "lightning")

SIDE = 8192
"""Rows and columns of the matrices, with which a large GPU is busy."""


def machine(bench: Bench) -> Results:
    """Return the device, versions, and TFLOP/s of a matrix product in each precision."""
    facts: Results = {name: importlib.metadata.version(name) for name in PACKAGES}
    facts["device"] = torch.cuda.get_device_name(bench.device) if bench.on_gpu else "cpu"
    if bench.on_gpu:
        facts["memory_gb"] = round(torch.cuda.get_device_properties(bench.device).total_memory / 1e9, 1)
    return facts | matmul_tflops(bench)


def matmul_tflops(bench: Bench) -> Results:
    """Return `tflops_` and each precision: measured on square matrices."""
    side = SIDE if bench.on_gpu else 1024
    matrix = torch.randn(side, side, device=bench.device)
    found = {}
    for name, dtype, allowed in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, True),
        ("fp16", torch.float16, True),
    ):
        if not bench.on_gpu and name in ("tf32", "fp16"):
            continue
        values = matrix.to(dtype)
        with tf32(allowed):
            seconds = bench.clock(partial(torch.matmul, values, values))
        found[f"tflops_{name}"] = round(2 * side**3 / seconds / 1e12, 2)
    return found
