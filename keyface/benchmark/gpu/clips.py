"""Whole edits of a clip: the paper's Table 2, 300 frames at 512 pixels."""

import time
from dataclasses import replace

from keyface.benchmark.gpu.bench import FULL_STEPS, Bench, Results
from keyface.benchmark.gpu.correctness import PROMPTS, Mode, settings_of
from keyface.benchmark.raw import Pattern
from keyface.diffusion.solvers import Solver
from keyface.editing.editor import VideoEditor
from keyface.editing.settings import EditSettings
from keyface.resume.batches import free_memory

SHORT = 5
"""Steps of an edit that tells how long one of 50 would take."""

FAST = 20
"""Steps of `dpmpp_2m`."""


def clip(
    bench: Bench, mode: Mode, steps: int, *, frames: int | None = None, solver: Solver = "ddim"
) -> Results:
    """Edit a clip, frames to frames, after a short one for nothing.

    Args:
        bench: Where.
        mode: Way to edit.
        steps: Denoising steps.
        frames: Length; None is that of Table 2's first row.
        solver: How a step is made.
    """
    length = frames or bench.frames
    length, steps = (min(length, bench.frames), min(steps, 2)) if bench.dry else (length, steps)
    backbone, (identity, direction) = bench.networks()
    settings = replace(settings_of(mode, EditSettings(steps=steps)), solver=solver)
    warm_up = VideoEditor(backbone, identity, direction, replace(settings, steps=2))
    warm_up.edit(Pattern(min(96, length), bench.size), PROMPTS, lambda _: None)
    free_memory()
    bench.reset_peak()
    bench.synchronize()
    began = time.perf_counter()
    report = VideoEditor(backbone, identity, direction, settings).edit(
        Pattern(length, bench.size), PROMPTS, lambda _: None
    )
    bench.synchronize()
    return {
        "mode": mode,
        "frames": length,
        "steps": steps,
        "solver": solver,
        "seconds": round(time.perf_counter() - began, 2),
        **{f"seconds_{stage}": round(seconds, 2) for stage, seconds in report.seconds.items()},
        "peak_gb": bench.peak_gb(),
        "disk_mb": round(report.disk_bytes / 1e6, 1),
    }


def expected_seconds(short: Results, steps: int) -> float:
    """Return about how long an edit takes, from a shorter one; coding does not go with the steps."""
    fixed = short["seconds_encode"] + short["seconds_decode"]
    return float(fixed + (short["seconds"] - fixed) * steps / short["steps"])


def full_steps(bench: Bench, short: str) -> int:
    """Return 50 steps, or as many tens and fives as the time that is left allows; 0 is none.

    Args:
        bench: Its time.
        short: Section with the short edit.
    """
    found = bench.found.get(short)
    if not isinstance(found, dict) or "seconds_encode" not in found:
        return 0
    for steps in range(FULL_STEPS, 2 * SHORT - 1, -SHORT):
        if expected_seconds(found, steps) * 1.1 + 10 < bench.left():
            return steps
    return 0
