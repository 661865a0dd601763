"""Memory of a step, from shapes: it runs on tensors without values, which take no memory."""

import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step, beside those of weights, buffers and the optimizer.

    Attributes:
        forward: Held when the loss is known: what autograd keeps for the backward pass.
        peak: The most that is held at once in forward and backward pass, with the gradients.
    """

    forward: int
    peak: int


def measure_step(
    step: Callable[[], Tensor | None], module: nn.Module, context: Callable[[], AbstractContextManager[Any]]
) -> StepMemory:
    """Run a step on tensors without values and count the bytes that would be held.

    Recomputed activations and the precision of autocast count as they are used. What libraries take for
    themselves, such as workspaces of convolutions, is not known.

    Args:
        step: Makes its inputs, without a look at values, and gives the loss, (); None: there is no backward
            pass.
        module: Everything that the step uses; its weights may have no values either. Nothing in it changes.
        context: Gives what the step runs in, such as autocast.

    Raises:
        RuntimeError: The step looks at values, or an operation is not known for tensors without.
    """
    held = [*module.parameters(), *module.buffers()]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = detect_fake_mode(held)
    mode = FakeTensorMode(allow_non_fake_inputs=True) if found is None else found
    with mode, _LiveBytes(mode, held) as live:
        # cuDNN's grid_sample is not known for tensors without values, torch's own is.
        with context(), torch.backends.cudnn.flags(enabled=False):
            loss = step()
        forward = live.now
        if loss is not None:
            torch.autograd.grad(loss, trained, allow_unused=True)
    return StepMemory(forward, live.peak)


def without_values(module: nn.Module, device: str) -> None:
    """Give a module on the meta device weights without values on another, which need not be there.

    There it can be measured as `measure_step` does, with what that device knows and `meta` does not, such as
    autocast.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    fresh = torch.empty_like(value, device=device)
                    part._parameters[name] = nn.Parameter(fresh, requires_grad=value.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = torch.empty_like(buffer, device=device)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations make, until they are let go.

    Args:
        mode: In which the operations run.
        held: Tensors that were there before, which do not count.
    """

    def __init__(self, mode: FakeTensorMode, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}
        self._held = [mode.from_tensor(tensor) for tensor in held]
        for tensor in self._held:
            self._known[tensor.untyped_storage()._cdata] = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it makes."""
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._count(each.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, partial(self._let_go, key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _let_go(self, key: int, size: int, _: object) -> None:
        del self._known[key]
        self.now -= size
