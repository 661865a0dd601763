"""Runs the sections within a number of minutes; what is found is saved after each."""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from keyface.benchmark.gpu.bench import Bench, Results
from keyface.benchmark.gpu.sections import SECTIONS, Section
from keyface.files import write_text
from keyface.untrusted import read_json_object

FILE = "gpu.json"

H100_TFLOPS = 779.0
"""Of a matrix product in bf16, measured on the machine that the sections' seconds are of."""


def run(
    bench: Bench,
    folder: Path,
    tell: Callable[[str], None],
    sections: Sequence[Section] = SECTIONS,
) -> Results:
    """Run what is not in the folder yet and still fits into the time; failures are noted, and tried again.

    Args:
        bench: Where and until when.
        folder: Where results are, and are to be.
        tell: Told of each section.
        sections: In the order of their worth.

    Raises:
        ValueError: The folder has the results of another device, or a dry run's beside real ones.
    """
    path = folder / FILE
    bench.found.update(earlier_results(path, bench))
    for section in sections:
        if _is_done(bench.found.get(section.name)):
            continue
        predicted = section.predicted(bench, slowness(bench.found))
        if not bench.dry and predicted > bench.left():
            why = f"takes about {predicted:.0f} s, {bench.left():.0f} left"
            bench.found[section.name] = {"left_out": why}
            tell(f"{section.name}: left out, {why}")
            _save(path, bench)
            continue
        began = time.monotonic()
        bench.found[section.name] = _tried(section, bench)
        took = round(time.monotonic() - began, 1)
        bench.found.setdefault("seconds", {})[section.name] = took
        failed = bench.found[section.name].get("failed")
        tell(f"{section.name}: {took} s" + (f", failed: {failed.strip().splitlines()[-1]}" if failed else ""))
        _save(path, bench)
    return bench.found


def _tried(section: Section, bench: Bench) -> Results:
    if not section.shares:
        bench.forget()
    try:
        return section.run(bench)
    except Exception:  # one section says nothing of the others
        return {"failed": traceback.format_exc()[-2000:]}
    finally:
        if bench.on_gpu:
            torch.cuda.empty_cache()


def _save(path: Path, bench: Bench) -> None:
    kept = {"dry": bench.dry, **{name: value for name, value in bench.found.items() if name != "dry"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(kept, indent=1) + "\n")


def earlier_results(path: Path, bench: Bench) -> Results:
    """Return what an earlier call found.

    Raises:
        ValueError: On another device, or in a dry run where this is none.
    """
    if not path.is_file():
        return {}
    found: Results = read_json_object(path)
    device = torch.cuda.get_device_name(bench.device) if bench.on_gpu else "cpu"
    before = found.get("machine", {}).get("device", device)
    if before != device or found.get("dry", bench.dry) != bench.dry:
        kind = "a dry run's" if found.get("dry") else f"those of {before}"
        raise ValueError(f"{path}: its results are {kind}; choose another folder by -o")
    return found


def slowness(found: Results) -> float:
    """Return how many times slower than an H100 the machine multiplies matrices; at least 1."""
    own = found.get("machine", {}).get("tflops_bf16")
    return max(1.0, H100_TFLOPS / own) if own else 1.0


def _is_done(result: object) -> bool:
    return isinstance(result, dict) and not {"failed", "left_out"} & result.keys()


def rows_of(found: Results) -> list[dict[str, object]]:
    """Return a row a section: how long it took, and what it says of itself in one number."""
    rows: list[dict[str, object]] = []
    for name, result in found.items():
        if not isinstance(result, dict) or name == "seconds":
            continue
        row: dict[str, object] = {"section": name, "took": found.get("seconds", {}).get(name)}
        for key in ("seconds", "images_per_second", "peak_gb", "peak_gpu_mb"):
            if isinstance(result.get(key), int | float):
                row[key] = result[key]
        state = next((key for key in ("failed", "left_out") if key in result), "done")
        rows.append({**row, "state": state})
    return rows
