"""What a training step takes, from shapes: by hand, against real steps, and at Stable Diffusion's size."""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from keyface.benchmark.memory import peak_bytes, reset_peak
from keyface.benchmark.training.networks import build_batch, build_module
from keyface.benchmark.training.request import TrainRequest
from keyface.lightning_modules.branch import BranchModule
from keyface.lightning_modules.tuning.memory import StepMemory, measure_step, without_values

ROWS = 1000


class Blocks(nn.Module):
    """Two layers of 10 → 20 → 10 with a ReLU between them, twice."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 10)) for _ in range(2)
        )
        self.checkpointed = checkpointed

    def loss(self) -> Tensor:
        values = torch.empty(ROWS, 10)
        for block in self.blocks:
            values = checkpoint(block, values, use_reentrant=False) if self.checkpointed else block(values)
        return values.sum()


def test_a_small_network_by_hand() -> None:
    """In floats a row: the input of each block, 10, and the ReLU's output, 20; the loss is one more."""
    network = Blocks()
    memory = measure_step(network.loss, network, nullcontext)
    kept = 4 * (ROWS * 2 * (10 + 20) + 1)
    assert memory.forward == kept
    weights = 4 * 2 * (10 * 20 + 20 + 20 * 10 + 10)
    # The gradient of a layer's output, 20 floats a row, stands beside what is kept.
    assert kept < memory.peak < kept + weights + 4 * ROWS * (20 + 20 + 10)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_checkpoints_keep_inputs_alone_and_count_what_is_recomputed() -> None:
    network = Blocks(checkpointed=True)
    memory = measure_step(network.loss, network, nullcontext)
    inputs = 4 * ROWS * 2 * 10
    # torch's random state, which a checkpoint puts back, is a few kilobytes.
    assert inputs < memory.forward < inputs + 4 * ROWS * 10 + 50_000
    assert memory.peak > inputs + 4 * ROWS * 20, "one block is computed again"


def test_the_backward_pass_counts_and_what_it_does_not_reach_does_not() -> None:
    """The exponentials, 1000 floats, are kept, and the gradient is as large; the two scalars are sums."""
    network: Any = nn.Module()
    network.weight, network.unused = nn.Parameter(torch.zeros(1000)), nn.Parameter(torch.zeros(7))
    memory = measure_step(lambda: network.weight.exp().sum(), network, nullcontext)
    assert memory == StepMemory(forward=4 * 1001, peak=4 * 2002)

    def step() -> None:
        network.weight.exp().sum()

    assert measure_step(step, network, nullcontext) == StepMemory(forward=0, peak=4 * 1001)


def test_a_network_that_has_no_values_takes_the_same() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(10, 20, bias=False), nn.Linear(20, 10)
            self.norm = nn.BatchNorm1d(20)
            self.plain = nn.BatchNorm1d(20, affine=False, track_running_stats=False)
            self.second.requires_grad_(False)

        def loss(self) -> Tensor:
            found: Tensor = self.second(self.plain(self.norm(self.first(torch.empty(ROWS, 10))))).sum()
            return found

    with torch.device("meta"):
        network = Network()
    without_values(network, "cpu")
    held = [*network.parameters(), *network.buffers()]
    assert {value.device.type for value in held} == {"cpu"}
    assert not any(value.requires_grad for value in network.second.parameters())
    assert all(value.requires_grad for value in network.first.parameters())
    real = Network()
    assert measure_step(network.loss, network, nullcontext) == measure_step(real.loss, real, nullcontext)


def test_half_precision_takes_half() -> None:
    network = Blocks()
    whole = measure_step(network.loss, network, nullcontext).forward
    half = measure_step(network.loss, network, partial(torch.autocast, "cpu", torch.bfloat16)).forward
    assert 0.45 * whole < half < 0.75 * whole


def miniature(branch: str, images: int, checkpointed: bool = False) -> tuple[BranchModule, dict[str, Any]]:
    request = TrainRequest(branch, "full", "miniature", images, 128, 1, "cpu", "fp32", checkpointed)
    module = build_module(request)
    return module, build_batch(request, module.backbone)


def saved_bytes(module: BranchModule, step: Callable[[], object]) -> int:
    """Count what a real forward saves for its backward, without the module's own tensors."""
    own = {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(saved.values())


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_the_forward_is_what_a_real_step_of_the_miniature_saves(branch: str) -> None:
    module, batch = miniature(branch, 4)
    found = module.step_memory(4, 128)
    kept: list[object] = []
    generator = torch.Generator().manual_seed(0)
    real = saved_bytes(module, lambda: kept.append(module.losses(batch, generator)))
    assert kept[0] is not None
    assert found.forward == pytest.approx(real, rel=0.1)
    assert found.peak >= found.forward


def peak_of_an_image() -> tuple[float, float]:
    """Return one image's as a process takes it, and by shapes.

    Both are the difference between two batches: the process itself and its caches drop out.
    """
    module, _ = miniature("identity", 1)
    peaks = {}
    for images in (16, 4, 16):  # the first warms up
        batch = miniature("identity", images)[1]
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free already is not counted as taken
        reset_peak()
        before = peak_bytes()
        losses = module.losses(batch, torch.Generator().manual_seed(0))
        losses.values["loss"].backward()
        peaks[images] = peak_bytes() - before
        module.zero_grad()
        del losses
    real = (peaks[16] - peaks[4]) / 12
    return real, (module.step_memory(16, 128).peak - module.step_memory(4, 128).peak) / 12


def test_the_peak_is_that_of_a_real_process() -> None:
    """In a process of its own: what other tests left free in the heap would be taken without a trace."""
    words = [sys.executable, "-P", __file__]
    told = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout
    real, shapes = map(float, told.split()[-2:])
    assert shapes == pytest.approx(real, rel=0.25)


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_a_rehearsal_leaves_the_training_as_it_was(branch: str) -> None:
    module, batch = miniature(branch, 2, checkpointed=True)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    module.step_memory(2, 128)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    losses = module.losses(batch, torch.Generator().manual_seed(0))
    assert losses is not None
    assert bool(losses.values["loss"].isfinite())


if __name__ == "__main__":
    print(*peak_of_an_image())
