"""`keyface benchmark train`: what a training step of each branch takes, and where the time goes."""

from pathlib import Path
from typing import Literal

READING = """\
seconds: medians of the steps, then of the repeats, each in a process of its own. A step is Lightning's, from
one batch to the next, with optimizer and moving average. The parts ran by themselves after it, forward and
backward: all passes of the tuned U-Net, the autoencoder's decoder, the judge (ArcFace and Eq. 5, or CLIP and
Eq. 6), the optimizer (clipping, AdamW, moving average); on the wall with a GPU, else seconds of the process.
step_over_parts: the step by their sum on the same clock; the rest is the text encoder, data and Lightning.
peak_mb: most resident memory from the second step on.
"""


def train(
    branches: str = "identity,direction",
    tunings: str = "full,lora",
    batch_size: int = 8,
    steps: int = 3,
    repeats: int = 3,
    json: bool = False,
    output: Path | None = None,
    scale: Literal["miniature", "sd21"] = "miniature",
    size: int | None = None,
    dtype: Literal["fp32", "bf16"] = "fp32",
    gradient_checkpointing: bool = False,
    compile: bool = False,
    fused: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    device: Literal["cpu", "cuda"] | None = None,
) -> None:
    """Measure a training step of ε1 and ε2, all weights or LoRA, against the sum of its parts.

    It is Lightning's own loop with the modules of `lightning fit`, the optimizer of the shipped configs and
    cached latents, on images of noise. With --scale sd21 the networks have the shapes of Stable Diffusion
    2.1, of a 100-layer ArcFace and of CLIP's ViT-B/32, and random weights.

    Args:
        branches: identity (ε1), direction (ε2), or both separated by a comma.
        tunings: full, lora, or both separated by a comma.
        batch_size: Images a step.
        steps: Steps that are measured, after one that is not.
        repeats: Measurements of each row.
        json: Print the rows as JSON, one object a branch and tuning, and nothing else on stdout.
        output: Also write these rows to this file.
        scale: The miniature's trained networks, or Stable Diffusion 2.1's shapes.
        size: Rows and columns; 128, with sd21 512.
        dtype: fp32, or bf16 for mixed precision.
        gradient_checkpointing: Recompute activations in the backward pass, as the paper's configs do.
        compile: Compile the U-Net, as tuning.compiled does.
        fused: Take AdamW's fused step, as the optimizer's `fused: true` does.
        dry_run: Say parameters and estimated memory from the shapes, and train nothing.
        seed: Of weights and batch.
        device: Where to train; on a GPU where there is one if not given.

    Raises:
        ValueError: The request does not fit together, or a measurement failed.
    """
    import tempfile

    import torch

    from keyface.benchmark.training.request import BRANCHES, TUNINGS, TrainRequest
    from keyface.commands.console import tell_rows, without_none
    from keyface.progress import say

    for name, value in (("--batch-size", batch_size), ("--steps", steps), ("--repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} {value}: at least 1, please")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if place == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: there is no CUDA device here")
    requests = [
        TrainRequest(
            branch, tuning, scale, batch_size, side_of(scale, size), steps, place, dtype,
            gradient_checkpointing, compile, fused, seed,
        )
        for branch in chosen("--branches", branches, BRANCHES)
        for tuning in chosen("--tunings", tunings, TUNINGS)
    ]  # fmt: skip
    if dry_run:
        from keyface.benchmark.training.estimate import estimate

        rows = [estimate(request) for request in requests]
    else:
        from keyface.benchmark.training.runner import measure_all

        with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
            rows = measure_all(requests, repeats, Path(name), say)
    tell_rows(rows, "" if dry_run else READING, output, json=json, shown=without_none(rows))


def side_of(scale: Literal["miniature", "sd21"], size: int | None) -> int:
    """Return rows and columns of the images: those that the networks are made for if not given."""
    if size is not None:
        return size
    if scale == "sd21":
        from keyface.benchmark.sd21 import PIXELS

        return PIXELS
    from keyface.miniature import zoo

    return zoo.backbone().image_size


def chosen(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    """Return the names that an option lists, each once.

    Raises:
        ValueError: One is unknown or comes twice, or there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"{option} {text}: choose from {', '.join(known)}, each once")
    return names
