"""What is told of a run before and after it."""

import math
from collections.abc import Mapping
from typing import Any

from keyface.miniature_training.stages import BY_NAME, Stage


def plan_rows(shares: Mapping[str, float], seconds: float, device: str) -> list[dict[str, object]]:
    """Return a row for each stage: its share of the time, in percent and in minutes, and its device."""
    return [
        {
            "stage": name,
            "share": f"{100 * share:.1f} %",
            "minutes": f"{share * seconds / 60:.2f}",
            "device": "cpu" if name == "shards" else device,
        }
        for name, share in shares.items()
    ]


def result_of(stage: Stage, card: Mapping[str, Any], seconds: float, size: float) -> dict[str, Any]:
    """Return what is kept of a finished stage for the last table.

    Args:
        stage: Which.
        card: Of its network.
        seconds: Of its training.
        size: Of its files, in MB.
    """
    metrics = {name: value for name, value in card["metrics"].items() if name.startswith("val/")}
    chosen = {name: metrics[name] for name in stage.figures if name in metrics} or dict(
        [*metrics.items()][:2]
    )
    return {
        "steps": card["steps"],
        "pictures": card["samples_seen"],
        "seconds": round(seconds, 1),
        "MB": round(size, 2),
        "figures": {name: value for name, value in chosen.items() if math.isfinite(value)},
    }


def result_rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return a row for each stage: steps, pictures, speed, time, size and its validation figures."""
    return [
        {
            "stage": name,
            "steps": str(found.get("steps", "")),
            "pictures": str(found["pictures"]),
            "pictures/s": f"{found['pictures'] / max(found['seconds'], 1e-9):.1f}",
            "seconds": f"{found['seconds']:.1f}",
            "MB": f"{found['MB']:.2f}",
            "validation": ", ".join(
                f"{label.removeprefix('val/')} {value:.4g}" for label, value in found["figures"].items()
            )
            or ("" if name not in BY_NAME else "none"),
        }
        for name, found in results.items()
    ]
