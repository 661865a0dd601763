"""Stages of an edit beside the bound that their arithmetic sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from keyface.benchmark.gpu.runner import FILE
from keyface.untrusted import read_json_object

WHOLE = "all"
"""The row of all stages."""


@dataclass(frozen=True)
class Speed:
    """What a machine can do.

    Attributes:
        tflops: 10¹² operations a second.
        source: Where the figure comes from.
        clips: Edits that were measured on it, as `keyface benchmark gpu` saves them.
    """

    tflops: float
    source: str
    clips: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def measured(cls, folder: Path) -> Self:
        """Read what `keyface benchmark gpu` found.

        Raises:
            FileNotFoundError: There is nothing in the folder.
            ValueError: The machine was not measured.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; keyface benchmark gpu -o {folder} makes it")
        found = read_json_object(path)
        machine = found.get("machine", {})
        if "tflops_bf16" not in machine:
            raise ValueError(f"{path}: the machine's matrix products were not measured; run it again")
        clips = [each for each in found.values() if isinstance(each, dict) and "mode" in each]
        return cls(machine["tflops_bf16"], f"matrix products in bf16, {machine['device']}", clips)

    def clip(self, mode: str, frames: int, steps: int, solver: str) -> dict[str, Any] | None:
        """Return the measurement of this edit; None where there is none."""
        wanted = {"mode": mode, "frames": frames, "steps": steps, "solver": solver}
        return next((each for each in self.clips if wanted.items() <= each.items()), None)


def rows_of(
    mode: str, flops: Mapping[str, float], tflops: float, clip: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return a row a stage, and one of all.

    Args:
        mode: Way to edit.
        flops: Of each stage.
        tflops: What the machine can do, 10¹² a second.
        clip: What was measured of this edit, `seconds` and `seconds_` with each stage; None: nothing.
    """
    rows = []
    for stage, work in {**flops, WHOLE: sum(flops.values())}.items():
        key = "seconds" if stage == WHOLE else f"seconds_{stage}"
        seconds = None if clip is None else clip.get(key)
        reached = work / seconds / 1e12 if seconds else None
        rows.append(
            {
                "mode": mode,
                "stage": stage,
                "pflop": round(work / 1e15, 4),
                "bound": round(work / tflops / 1e12, 3),
                "seconds": seconds,
                "tflops": None if reached is None else round(reached, 1),
                "share": None if reached is None else round(reached / tflops, 3),
            }
        )
    return rows
