"""The process of one measurement: reads a request, trains, writes what a step took.

`python -P -m keyface.benchmark.training.child REQUEST.json RESULT.json`.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from keyface.benchmark.memory import peak_bytes, reset_peak
from keyface.benchmark.training.networks import build_batch, build_module
from keyface.benchmark.training.parts import CLIP_NORM, PARTS, parts_of
from keyface.benchmark.training.request import TrainRequest
from keyface.files import write_text

Moment = tuple[float, float]
"""Seconds of the process' threads together, and of the clock on the wall."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def now() -> Moment:
    """Return the moment at which everything that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()


class StepClock(Callback):
    """Note when each step begins, and when the last one ends, with everything that Lightning does."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Note that a step begins; memory counts from the second one on, as the first allocates for all."""
        if len(self.moments) == 1:
            reset_peak()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        self.moments.append(now())

    def on_train_end(self, *_: Any) -> None:
        """Note that the last step has ended."""
        self.moments.append(now())

    def seconds(self) -> tuple[float, float]:
        """Return the median over the steps but the first: of the process' threads, on the wall."""
        pairs = list(zip(self.moments[1:], self.moments[2:], strict=False))
        return (
            statistics.median(end[0] - start[0] for start, end in pairs),
            statistics.median(end[1] - start[1] for start, end in pairs),
        )


def measure(request: TrainRequest) -> dict[str, Any]:
    """Train a few steps with Lightning, then run the parts of a step one by one.

    Returns:
        `seconds_cpu`, `seconds_wall` (a step), `peak_mb`, `peak_gpu_mb` (None without CUDA), `seconds_` and
        each of `PARTS` (wall with CUDA, else of the process' threads), `trained` (parameters), `device`.
    """
    torch.manual_seed(request.seed)
    on_gpu = request.device == "cuda"
    module = build_module(request)
    batch = build_batch(request, module.backbone)
    batches: Any = [batch] * (request.steps + 1)
    clock = StepClock()
    trainer = Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision="bf16-mixed" if request.dtype == "bf16" else "32-true",
        max_steps=request.steps + 1,
        gradient_clip_val=CLIP_NORM,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about data loaders and validation, of which there is none
        trainer.fit(module, DataLoader(batches, batch_size=None))
    peak, seconds = peak_bytes(), clock.seconds()
    peak_gpu = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else None
    # Lightning takes the module back to the CPU when it is done.
    module.to(request.device).train()
    placed = {k: v.to(request.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    parts = parts_of(module, placed, _DTYPES[request.dtype])
    return {
        "seconds_cpu": seconds[0],
        "seconds_wall": seconds[1],
        "peak_mb": peak / 1e6,
        "peak_gpu_mb": peak_gpu,
        **{f"seconds_{name}": repeated(parts[name], request.steps, wall=on_gpu) for name in PARTS},
        "trained": sum(parameter.numel() for parameter in module.trained_parameters()),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


def repeated(part: Callable[[], object], times: int, *, wall: bool) -> float:
    """Return the median seconds of a part, on the wall or of the process' threads, after once for nothing."""
    part()
    found = []
    for _ in range(times):
        start = now()
        part()
        end = now()
        found.append(end[wall] - start[wall])
    return statistics.median(found)


def main(words: list[str]) -> None:
    """Measure what the first file asks for, and write the second."""
    import json

    request, result = Path(words[0]), Path(words[1])
    write_text(result, json.dumps(measure(TrainRequest.from_json(request.read_text()))))


if __name__ == "__main__":
    main(sys.argv[1:])
