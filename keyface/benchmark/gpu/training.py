"""A training step of each branch at Stable Diffusion 2.1's shapes."""

from keyface.benchmark.gpu.bench import Bench, Results
from keyface.benchmark.training.child import measure
from keyface.benchmark.training.request import TrainRequest
from keyface.progress import warnings_only

BATCH = 8
"""Images on each of the paper's two GPUs."""


def training(bench: Bench, branch: str, *, compiled: bool = False) -> Results:
    """Return seconds of a step and its parts, images a second and the peak of memory.

    Args:
        bench: Where; a dry run trains the miniature.
        branch: identity or direction, all weights.
        compiled: Whether the U-Net is compiled.
    """
    request = TrainRequest(
        branch,
        "full",
        "miniature" if bench.dry else "sd21",
        1 if bench.dry else BATCH,
        bench.size,
        1 if bench.dry else 3,
        bench.device.type,
        "bf16" if bench.on_gpu else "fp32",
        gradient_checkpointing=True,
        compiled=compiled and bench.on_gpu,
        fused=True,
    )
    with warnings_only("lightning.pytorch"):  # its advice is about other runs
        found = measure(request)
    return {**found, "images_per_second": request.batch_size / found["seconds_wall"]}
