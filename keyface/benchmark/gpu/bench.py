"""Where and how the sections run, what they have found, and the clock they share."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from keyface.benchmark.sd21 import PIXELS, build_backbone, build_unet
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.precision import accelerate

Results = dict[str, Any]
"""What a section found, as JSON holds it."""

FULL_STEPS = 50
"""Denoising steps of the paper."""


@dataclass
class Bench:
    """A device and the sizes of what is measured there.

    Attributes:
        device: Where.
        dry: Whether all shapes are shrunk, so that everything runs on a CPU in about a minute.
        deadline: Moment of `time.monotonic` after which nothing is begun.
        found: Section → what it found; also of earlier calls.
    """

    device: torch.device
    dry: bool
    deadline: float
    found: Results = field(default_factory=dict)
    _networks: tuple[Backbone, list[UNet2DConditionModel]] | None = None

    def __post_init__(self) -> None:
        """Give a GPU its number, without which some of torch's functions refuse it."""
        if self.device == torch.device("cuda"):
            self.device = torch.device("cuda", torch.cuda.current_device())

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def size(self) -> int:
        """Rows and columns of the images."""
        return 64 if self.dry else PIXELS

    @property
    def frames(self) -> int:
        """Frames of a clip, those of 30 seconds in the paper's Table 2."""
        return 16 if self.dry else 300

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.deadline - time.monotonic()

    def synchronize(self) -> None:
        """Wait until everything that was asked of the device is done."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def clock(self, call: Callable[[], object], times: int = 5) -> float:
        """Return the median seconds of a call, after two for nothing."""
        call(), call()
        taken = []
        for _ in range(1 if self.dry else times):
            self.synchronize()
            began = time.perf_counter()
            call()
            self.synchronize()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def reset_peak(self) -> None:
        """Count the peak of the device's memory from now on."""
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gb(self) -> float | None:
        """Return the most memory that tensors took on the GPU, in 10⁹ bytes; None without one."""
        return round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2) if self.on_gpu else None

    def networks(self) -> tuple[Backbone, list[UNet2DConditionModel]]:
        """Return a backbone and both branches at Stable Diffusion 2.1's shapes, as `edit` runs them there."""
        if self._networks is None:
            backbone = build_backbone(str(self.device), shrunk=self.dry)
            with torch.device(self.device):
                branches = [build_unet(self.dry).requires_grad_(False) for _ in range(2)]
            dtype = torch.bfloat16 if self.on_gpu else torch.float32
            self._networks = accelerate(backbone, branches, dtype=dtype, channels_last=True)
        return self._networks

    def forget(self) -> None:
        """Free what sections share, so that another's peak is its own."""
        self._networks = None
        if self.on_gpu:
            torch.cuda.empty_cache()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let matrix products and convolutions of fp32 use TF32, or not, for a with block."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖."""
    found, expected = found.float().cpu(), expected.float().cpu()
    return float((found - expected).norm() / expected.norm())
