"""Commands that are `lightning predict` with a shipped config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
"""Names of precisions → Lightning's."""


def predict(
    lightning: Callable[[Sequence[str]], int],
    config: str,
    runs: Path,
    values: Mapping[str, Any],
    data: Mapping[str, Any],
    trainer: Mapping[str, Any],
) -> int:
    """Run `lightning predict` with a shipped config and a few other values.

    Args:
        lightning: Runs a `lightning` command line and returns its exit status.
        config: The config's name.
        runs: Folder of the run's record.
        values: By full name.
        data: Arguments of the datamodule.
        trainer: Arguments of the trainer.

    Returns:
        The exit status; what went wrong is on stderr already.
    """
    settings = {
        **values,
        **{f"data.init_args.{name}": value for name, value in data.items()},
        **{f"trainer.{name}": value for name, value in trainer.items()},
    }
    words = ["predict", "-c", str(files("keyface.configs") / f"{config}.yaml"), f"--runs={runs}"]
    # Predictions go to the disk batch by batch; nothing is gathered in memory.
    words += ["--return_predictions=false", *(f"--{name}={value}" for name, value in settings.items())]
    return lightning(words)


def precision_on(accelerator: str, asked: str) -> str:
    """Return the precision of frozen networks: what is asked for, or for `auto` bfloat16 on a GPU.

    Args:
        accelerator: As Lightning names it.
        asked: auto, float32, bfloat16 or float16.

    Raises:
        ValueError: There is no such precision.
    """
    if asked != "auto":
        if asked not in PRECISIONS:
            raise ValueError(f"precision {asked!r}: there are auto, {', '.join(PRECISIONS)}")
        return asked
    import torch

    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    return "bfloat16" if on_gpu else "float32"
