"""Rows of the table: each branch and tuning, repeated in processes of its own."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keyface.benchmark.runner import run_child
from keyface.benchmark.training.request import TrainRequest

CHILD = "keyface.benchmark.training.child"

_PARTS = ("seconds_unet", "seconds_decoder", "seconds_judge", "seconds_optimizer")


def measure_all(
    requests: Sequence[TrainRequest], repeats: int, folder: Path, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure every request once, then every one again, so that what slows the machine slows them alike.

    Args:
        requests: One a row.
        repeats: How often each.
        folder: For requests and results.
        tell: Told of each measurement.

    Raises:
        ValueError: A measurement failed.
    """
    runs: list[list[dict[str, Any]]] = [[] for _ in requests]
    for repeat in range(repeats):
        for number, request in enumerate(requests):
            result = run_child(CHILD, request.to_json(), folder / f"{number}-{repeat}")
            runs[number].append(result)
            tell(
                f"[{repeat + 1}/{repeats}] {request.branch}, {request.tuning}: "
                f"{result['seconds_wall']:.2f} s a step"
            )
    return [row_of(request, found) for request, found in zip(requests, runs, strict=True)]


def row_of(request: TrainRequest, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row: medians over the repeats; `step_over_parts` is the step by the sum of its parts."""
    measured = ("seconds_cpu", "seconds_wall", "peak_mb", "peak_gpu_mb", *_PARTS)
    median = {name: _median([run[name] for run in runs]) for name in measured}
    # Without a GPU others on the machine slow the wall's clock, so parts are compared by the process' own.
    whole = median["seconds_cpu" if runs[0]["device"] == "cpu" else "seconds_wall"]
    parts = sum(median[name] or 0.0 for name in _PARTS)
    wall = median["seconds_wall"]
    assert whole is not None
    assert wall is not None
    return {
        "branch": request.branch,
        "tuning": request.tuning,
        "batch_size": request.batch_size,
        "size": request.size,
        "dtype": request.dtype,
        "checkpointed": request.gradient_checkpointing,
        "images_per_second": request.batch_size / wall,
        **median,
        "step_over_parts": whole / parts,
        "trained": runs[0]["trained"],
        "repeats": len(runs),
        "device": runs[0]["device"],
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None
