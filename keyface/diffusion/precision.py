"""How networks run: precision, memory layout, compilation. What they compute stays."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from keyface.diffusion.backbone import Backbone

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Of the U-Nets: `auto` is bf16 on a GPU that computes with it, fp16 on an older one, fp32 elsewhere."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""oneDNN's own variable, which it reads when the process computes its first convolution."""

_KERNELS = 64

GRAPHS = 64
"""Graphs that one function may have when it is compiled. The U-Nets share one, and run with several kinds of
attention; beyond torch's limit of 8 they would run uncompiled."""


def choose_dtype(precision: Precision, device: torch.device | str) -> torch.dtype:
    """Return the type of the U-Nets' weights on a device.

    Raises:
        ValueError: There is no such precision.
    """
    if precision != "auto":
        if precision not in _DTYPES:
            raise ValueError(f"dtype {precision!r}: choose auto, {', '.join(_DTYPES)}")
        return _DTYPES[precision]
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def name_of(dtype: torch.dtype) -> str:
    """Return what `--dtype` calls a type of weights; torch's own name for another one."""
    names = {each: name for name, each in _DTYPES.items()}
    return names.get(dtype, str(dtype).removeprefix("torch."))


@contextmanager
def autocast_unets(unets: Sequence[UNet2DConditionModel], dtype: torch.dtype) -> Iterator[None]:
    """Let U-Nets whose weights must stay as they are, since they are in training, run in another precision.

    Everything around them stays fp32, as with `accelerate`.

    Args:
        unets: Each may be named more than once.
        dtype: fp32 changes nothing.
    """
    changed = [] if dtype == torch.float32 else list({id(unet): unet for unet in unets}.values())
    for unet in changed:
        unet.forward = torch.autocast(unet.device.type, dtype)(unet.forward)
    try:
        yield
    finally:
        for unet in changed:
            del unet.forward  # the instance's; the class's is there again


def accelerate(
    backbone: Backbone,
    branches: Sequence[UNet2DConditionModel],
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    compiled: bool = False,
    backend: str | Callable[..., Any] = "inductor",
) -> tuple[Backbone, list[UNet2DConditionModel]]:
    """Make networks run faster, in place.

    Latents, the scheduler's arithmetic and the autoencoder stay fp32 whatever `dtype` is; on CUDA the
    autoencoder's convolutions may use TF32.

    Args:
        backbone: With the U-Net that inverts.
        branches: ε1 and ε2.
        dtype: Precision of the U-Nets.
        channels_last: Lay U-Nets and autoencoder out with channels innermost.
        compiled: Compile each U-Net as a whole, with its attention processors: one graph for each kind of
            them and length of the batch. Residual features (Plug-and-Play), which are hooks, are graphs of
            their own, too.
        backend: Of `torch.compile`.

    Returns:
        The same networks.
    """
    unets = [backbone.unet, *branches]
    for unet in unets:
        # diffusers' own `to` warns of layers that should stay fp32, of which a U-Net has none
        nn.Module.to(unet, dtype=dtype)
    if backbone.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True
    for module in (*unets, backbone.vae):
        if channels_last:
            module.to(memory_format=torch.channels_last)
    if compiled:
        compile_unets(unets, backend)
    return backbone, list(branches)


def compile_unets(unets: Sequence[UNet2DConditionModel], backend: str | Callable[..., Any]) -> None:
    """Compile U-Nets, each in one piece; what is in the way of that raises an error and is not left out.

    Args:
        unets: They are compiled when they first run.
        backend: Of `torch.compile`.
    """
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, GRAPHS)
    dynamo.skip_nnmodule_hook_guards = False  # residual features come and go as hooks
    for unet in unets:
        unet.compile(backend=backend, fullgraph=True)


def is_compiled(unet: UNet2DConditionModel) -> bool:
    """Tell whether a U-Net is compiled, so that it should see few lengths of batches."""
    return unet._compiled_call_impl is not None


def limit_kernel_cache() -> None:
    """Keep a long edit's memory flat on the CPU; to be called before the process' first convolution.

    oneDNN compiles a kernel for every batch size that a convolution meets and by default keeps 1,024 of them.
    A longer clip meets more batch sizes, and what is kept splits the heap up. Whoever set the variable keeps
    their number.
    """
    os.environ.setdefault(KERNEL_CACHE, str(_KERNELS))
