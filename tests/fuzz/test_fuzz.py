"""Hostile input of every kind that is read: no traceback, no hang, no leftovers, no canary, bounded memory.

`make test` reads 20 inputs of each kind, always the same; `make fuzz` reads 1,000 that nobody has seen:
`KEYFACE_FUZZ=1000 KEYFACE_FUZZ_SEED=7 pytest tests/fuzz`. What failed once lies in `corpus/` and is read
again each time.
"""

import os
from pathlib import Path

import pytest
from fuzz.kinds import KINDS
from fuzz.runner import CORPUS, fuzz, replay

COUNT = int(os.environ.get("KEYFACE_FUZZ", "20"))
SEED = int(seed) if (seed := os.environ.get("KEYFACE_FUZZ_SEED")) else None
KEPT = os.environ.get("KEYFACE_FUZZ_KEEP")
"""Folder in which inputs that failed are kept."""


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    faults = fuzz(kind, COUNT, SEED, Path(KEPT, kind).absolute() if KEPT else tmp_path)
    told = "\n".join(f"{path}: {fault}" for fault, path in faults.items())
    assert not faults, f"mend it, and add the file to {CORPUS / kind}:\n{told}"


@pytest.mark.parametrize("kind", sorted(path.name for path in CORPUS.iterdir() if path.is_dir()))
def test_what_failed_once_is_refused(kind: str, tmp_path: Path) -> None:
    faults = replay(kind, tmp_path)
    assert not faults, "\n".join(f"{path.name}: {fault}" for fault, path in faults.items())
