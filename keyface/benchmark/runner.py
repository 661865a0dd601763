"""Interleaved repeats, one process each, and their medians."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyface.benchmark.request import Request
from keyface.files import sha256, write_text
from keyface.untrusted import read_json_object

STAGES = ("encode", "invert", "reconstruct", "edit", "decode")

_TAIL = 5


@dataclass
class Cell:
    """One row of the table: a way to edit at a length.

    Attributes:
        name: Of the way to edit.
        request: What each repeat is asked.
        runs: What the repeats measured.
        digests: Hashes of the edited frames; equal requests must give equal frames.
    """

    name: str
    request: Request
    runs: list[dict[str, Any]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    def row(self, quality: Mapping[str, float | None]) -> dict[str, Any]:
        """Return the cell as a flat object for the JSON file.

        Args:
            quality: `identity_distance`, `edit_success` and `temporal_loss`; None where there is no truth.
        """
        measured = ("seconds_cpu", "seconds_wall", "peak_mb")
        further = (*(f"seconds_{stage}" for stage in STAGES), "peak_gpu_mb", "disk_mb")
        return {
            "mode": self.name,
            "frames": self.request.frames,
            **{key: median(self.runs, key) for key in measured},
            **quality,
            **{key: median(self.runs, key) for key in further},
            "repeats": len(self.runs),
            "device": self.runs[0]["device"],
        }


def run_interleaved(
    cells: Sequence[Cell], repeats: int, folder: Path, tell: Callable[[str], None]
) -> Iterator[Cell]:
    """Measure every cell once, then every cell again.

    Args:
        cells: Filled with what is measured.
        repeats: How often each.
        folder: For requests and results.
        tell: Told of each measurement.

    Yields:
        Each cell after its last repeat.

    Raises:
        ValueError: A measurement failed, or equal requests gave different frames.
    """
    requests = [cell.request.to_json() for cell in cells]
    for number, result in interleave("keyface.benchmark.child", requests, repeats, folder):
        cell = cells[number]
        cell.runs.append(result)
        tell(
            f"[{len(cell.runs)}/{repeats}] {cell.name}, {cell.request.frames} frames: "
            f"{result['seconds_wall']:.1f} s, {result['peak_mb']:.0f} MB"
        )
        if cell.request.edited is not None:
            cell.digests.add(sha256(cell.request.edited))
        if len(cell.digests) > 1 and cell.request.device == "cpu":
            raise ValueError(
                f"{cell.name}, {cell.request.frames} frames: two runs of one edit gave different frames"
            )
        if len(cell.runs) == repeats:
            yield cell


def interleave(
    module: str, requests: Sequence[str], repeats: int, folder: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Measure every request once, then every one again, so that what slows the machine slows them alike.

    Args:
        module: What measures, as of `run_child`.
        requests: As text.
        repeats: How often each.
        folder: For requests and results.

    Yields:
        The number of a request and what was measured.
    """
    for repeat in range(repeats):
        for number, request in enumerate(requests):
            yield number, run_child(module, request, folder / f"{number}-{repeat}")


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Return the median of what repeats measured; None where nothing was."""
    values = [run[key] for run in runs if run[key] is not None]
    return float(statistics.median(values)) if values else None


def run_child(module: str, request: str, stem: Path) -> dict[str, Any]:
    """Measure in a fresh process.

    Args:
        module: Run with a file of the request and one for the result.
        request: Its text.
        stem: Where the two files go.

    Raises:
        ValueError: It failed; the message ends with what it said last.
    """
    asked, result = stem.with_suffix(".request.json"), stem.with_suffix(".result.json")
    write_text(asked, request)
    # -P: the folder `keyface` of a working tree must not hide the installed package.
    command = [sys.executable, "-P", "-m", module, str(asked), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " | ".join(done.stderr.strip().splitlines()[-_TAIL:])
        raise ValueError(f"a measurement ended with status {done.returncode}: {said}")
    return read_json_object(result, allow_nan=True)
