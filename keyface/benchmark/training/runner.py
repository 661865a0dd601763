"""Rows of the table: each branch and tuning, repeated in processes of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keyface.benchmark.runner import interleave, median
from keyface.benchmark.training.request import TrainRequest

CHILD = "keyface.benchmark.training.child"

_PARTS = ("seconds_unet", "seconds_decoder", "seconds_judge", "seconds_optimizer")


def measure_all(
    requests: Sequence[TrainRequest], repeats: int, folder: Path, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure every request once, then every one again, see `keyface.benchmark.runner.interleave`.

    Args:
        requests: One a row.
        repeats: How often each.
        folder: For requests and results.
        tell: Told of each measurement.

    Raises:
        ValueError: A measurement failed.
    """
    runs: list[list[dict[str, Any]]] = [[] for _ in requests]
    for number, result in interleave(CHILD, [each.to_json() for each in requests], repeats, folder):
        request, found = requests[number], runs[number]
        found.append(result)
        tell(
            f"[{len(found)}/{repeats}] {request.branch}, {request.tuning}: "
            f"{result['seconds_wall']:.2f} s a step"
        )
    return [row_of(request, found) for request, found in zip(requests, runs, strict=True)]


def row_of(request: TrainRequest, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row: medians over the repeats; `step_over_parts` is the step by the sum of its parts."""
    measured = ("seconds_cpu", "seconds_wall", "peak_mb", "peak_gpu_mb", *_PARTS)
    medians = {name: median(runs, name) for name in measured}
    # Without a GPU others on the machine slow the wall's clock, so parts are compared by the process' own.
    whole = medians["seconds_cpu" if runs[0]["device"] == "cpu" else "seconds_wall"]
    parts = sum(medians[name] or 0.0 for name in _PARTS)
    wall = medians["seconds_wall"]
    assert whole is not None
    assert wall is not None
    return {
        "branch": request.branch,
        "tuning": request.tuning,
        "batch_size": request.batch_size,
        "size": request.size,
        "dtype": request.dtype,
        "checkpointed": request.gradient_checkpointing,
        "compiled": request.compiled,
        "fused": request.fused,
        "images_per_second": request.batch_size / wall,
        **medians,
        "step_over_parts": whole / parts,
        "trained": runs[0]["trained"],
        "repeats": len(runs),
        "device": runs[0]["device"],
    }
