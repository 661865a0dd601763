"""What only a GPU can tell; `keyface benchmark gpu` runs these there."""

import time

import pytest
import torch

from keyface.benchmark.gpu.bench import Bench
from keyface.benchmark.gpu.correctness import alignment, attention_processors, small_edits, smaller_batches
from keyface.lightning_modules.tuning.divergence import Arriving

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def bench() -> Bench:
    return Bench(torch.device("cuda"), dry=False, deadline=time.monotonic() + 600)


def test_attention_is_that_of_the_cpu(bench: Bench) -> None:
    """An H100 was at 1.4e-6, .017 and .002."""
    found = attention_processors(bench)
    for precision, most in (("float32", 1e-5), ("bfloat16", 0.03), ("float16", 0.006)):
        assert max(found[precision]) < most


def test_small_edits_are_those_of_the_cpu(bench: Bench) -> None:
    """An H100 was at 2e-4, 8e-4 and 1.5e-3."""
    assert max(small_edits(bench).values()) < 5e-3


def test_faces_are_aligned_as_on_the_cpu(bench: Bench) -> None:
    assert min(alignment(bench).values()) > 60.0


def test_batches_are_halved_when_memory_runs_out(bench: Bench) -> None:
    found = smaller_batches(bench)
    assert found["frames"] == 16
    assert found["finite"]


def test_a_truth_value_arrives() -> None:
    for value in (True, False):
        assert Arriving(torch.tensor(value, device="cuda")).read() is value
