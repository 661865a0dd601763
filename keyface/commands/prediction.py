"""Commands that are `lightning predict` with a shipped config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any


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
