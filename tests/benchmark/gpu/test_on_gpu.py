"""What only a GPU can tell; `keyface benchmark gpu` runs these there."""

import time

import pytest
import torch

from keyface.benchmark.gpu.bench import Bench
from keyface.benchmark.gpu.correctness import alignment, attention_processors, small_edits, smaller_batches
from keyface.editing.composition import Decoded, Layer, compose
from keyface.editing.parts import Composition
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


def test_frames_are_composed_as_on_the_cpu() -> None:
    source = torch.rand(4, 3, 128, 128) * 2 - 1
    edited = source.clone()
    edited[:, :, 30:60, 40:90] += 0.4
    on: dict[str, Layer] = {}
    for device in ("cpu", "cuda"):
        parts = [
            [
                Decoded(*(each.to(device) for each in frame))
                for frame in zip(source, source, edited, strict=True)
            ]
        ]
        layers = [layer.cpu() for layer in compose(parts, Composition())]
        on[device] = Layer(0, *(torch.cat([layer[part] for layer in layers]) for part in (1, 2, 3)))
    assert torch.equal(on["cpu"].mask == 0, on["cuda"].mask == 0), "where nothing changes, nothing does"
    torch.testing.assert_close(on["cuda"].edited, on["cpu"].edited, atol=2e-3, rtol=0)


def test_a_truth_value_arrives() -> None:
    for value in (True, False):
        assert Arriving(torch.tensor(value, device="cuda")).read() is value
