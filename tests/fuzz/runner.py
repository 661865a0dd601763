"""Many inputs of one kind in a process of its own, which a fault may take down without harm to the tests."""

import multiprocessing
import os
import re
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

import pytest
from forks import FORKS
from fuzz.judge import WAITING, fault_of
from fuzz.kinds import KINDS, Kind
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

CORPUS = Path(__file__).parent / "corpus"
"""Every case that ever failed, one folder a kind."""


def fuzz(name: str, count: int, seed: int | None, place: Path) -> dict[str, Path]:
    """Read inputs of a kind, and return what was wrong, each fault with its smallest input.

    Args:
        name: Of the kind.
        count: How many inputs are drawn.
        seed: Of the draw; None gives the same inputs each time.
        place: A folder for what is drawn; inputs that failed are kept in it.
    """
    return _in_a_process(_draw_and_read, name, count, seed, place)


def replay(name: str, place: Path) -> dict[str, Path]:
    """Read all inputs of a kind in the corpus, and return the faults that are there again."""
    return _in_a_process(_replay, name, 0, None, place)


def _in_a_process(target: object, name: str, count: int, seed: int | None, place: Path) -> dict[str, Path]:
    place.mkdir(parents=True, exist_ok=True)
    log = place / "log.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONSAFEPATH", "1")
        process = FORKS.Process(target=target, args=(name, count, seed, place, sys.path, log))
        process.start()
    alive, seen, began = place / "alive", 0.0, time.monotonic()
    while process.is_alive():
        process.join(1)
        last = alive.stat().st_mtime if alive.exists() else 0.0
        if last != seen:
            seen, began = last, time.monotonic()
        if process.is_alive() and time.monotonic() - began > 2 * WAITING:  # code in C does not hear the alarm
            process.kill()
            process.join()
            return {f"no end after {2 * WAITING} s": _input(place, name)}
    faults = {text: path for path, text in _noted(place)}
    if process.exitcode and process.exitcode > 0:
        raise AssertionError(f"the fuzzer itself failed:\n{log.read_text(errors='replace')[-3000:]}")
    if process.exitcode:
        faults[f"the process was ended by signal {-process.exitcode}"] = _input(place, name)
    return faults


def _draw_and_read(
    name: str, count: int, seed: int | None, place: Path, folders: list[str], log: Path
) -> None:
    kind = _begin(name, folders, log)

    def each(data: bytes) -> None:
        _judge(kind, data, place)

    chosen = settings(
        max_examples=count,
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run = chosen(given(kind.inputs(kind.seeds()))(each))
    _finish(run if seed is None else seeded(seed)(run))


def _replay(name: str, count: int, seed: int | None, place: Path, folders: list[str], log: Path) -> None:
    kind = _begin(name, folders, log)

    def run() -> None:
        for path in sorted((CORPUS / name).iterdir()):
            _judge(kind, path.read_bytes(), place, path)
        for data in kind.seeds():  # what is valid is read
            kind_fault = fault_of(kind, data, place / "read")
            assert kind_fault is None, f"a valid {kind.name}: {kind_fault}"

    _finish(run)


def _begin(name: str, folders: list[str], log: Path) -> Kind:
    import torch

    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(1)
    sys.path[:] = folders
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    return KINDS[name]


def _finish(run: object) -> None:
    try:
        run()  # type: ignore[operator]
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # threads of decoders need not end


def _judge(kind: Kind, data: bytes, place: Path, source: Path | None = None) -> None:
    """Read one input; a fault is noted beside it, once for each place where it shows."""
    (place / f"current{kind.suffix}").write_bytes(data)
    (place / "alive").touch()
    fault = fault_of(kind, data, place / "read")
    if fault is None:
        return
    label = source.stem if source else sha256(_signature(fault).encode()).hexdigest()[:12]
    path = place / "faults" / f"{label}{kind.suffix}"
    path.parent.mkdir(exist_ok=True)
    if path.exists() and path.stat().st_size <= len(data):
        return
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(fault)


def _signature(fault: str) -> str:
    """Return what is the same of a fault in all inputs that show it."""
    where = re.match(r"\S+ \(.+?\): (\w+)( message)?", fault)
    return where[0] if where else re.sub(r"\d+", "N", fault)


def _noted(place: Path) -> list[tuple[Path, str]]:
    notes = sorted((place / "faults").glob("*.txt"))
    return [
        (next(p for p in note.parent.glob(f"{note.stem}.*") if p != note), note.read_text()) for note in notes
    ]


def _input(place: Path, name: str) -> Path:
    path = place / f"current{KINDS[name].suffix}"
    kept = place / "faults" / f"ended{path.suffix}"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(path.read_bytes() if path.exists() else b"")
    return kept
