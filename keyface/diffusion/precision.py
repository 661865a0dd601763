"""How networks run: precision, memory layout, compiled parts. What they compute stays."""

import os
from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D

from keyface.diffusion.backbone import Backbone

_COMPILED = (ResnetBlock2D, FeedForward)

KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""oneDNN's own variable, which it reads when the process computes its first convolution."""

_KERNELS = 64


def accelerate(
    backbone: Backbone,
    branches: Sequence[UNet2DConditionModel],
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    compiled: bool = False,
    backend: str = "inductor",
) -> tuple[Backbone, list[UNet2DConditionModel]]:
    """Make networks run faster, in place.

    Latents, the scheduler's arithmetic and the autoencoder stay fp32 whatever `dtype` is; on CUDA the
    autoencoder's convolutions may use TF32.

    Args:
        backbone: With the U-Net that inverts.
        branches: ε1 and ε2.
        dtype: Precision of the U-Nets.
        channels_last: Lay U-Nets and autoencoder out with channels innermost.
        compiled: Compile what no attention processor touches, which are ResNet blocks and feed-forward
            layers: a whole U-Net would be compiled anew whenever a processor is exchanged.
        backend: Of `torch.compile`.

    Returns:
        The same networks.
    """
    unets = [backbone.unet, *branches]
    for unet in unets:
        unet.to(dtype)
    if backbone.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True
    for module in (*unets, backbone.vae):
        if channels_last:
            module.to(memory_format=torch.channels_last)
    for unet in unets:
        for part in unet.modules() if compiled else ():
            if isinstance(part, _COMPILED):
                part.compile(backend=backend)
    return backbone, list(branches)


def limit_kernel_cache() -> None:
    """Keep a long edit's memory flat on the CPU; to be called before the process' first convolution.

    oneDNN compiles a kernel for every batch size that a convolution meets and by default keeps 1,024 of them.
    A longer clip meets more batch sizes, and what is kept splits the heap up. Whoever set the variable keeps
    their number.
    """
    os.environ.setdefault(KERNEL_CACHE, str(_KERNELS))
