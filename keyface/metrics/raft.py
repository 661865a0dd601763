"""RAFT [Teed and Deng 2020] by torchvision: the estimator of the paper's Table 3."""

from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import optical_flow

from keyface.files import sha256
from keyface.weights.states import read_state

RaftArchitecture = Literal["raft_large", "raft_small"]

_MULTIPLE = 8
_MINIMUM = 128


class Raft(nn.Module):
    """A trained RAFT as a `keyface.metrics.flow.FlowEstimator`.

    Args:
        network: torchvision's `raft_large` or `raft_small`, trained.
        updates: Refinements of the flow; torchvision's default is 12.
        name: For the report.
    """

    def __init__(self, network: nn.Module, updates: int = 12, name: str = "RAFT") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.updates = updates
        self.name = name

    @classmethod
    def from_file(
        cls, weights: Path, architecture: RaftArchitecture = "raft_large", updates: int = 12
    ) -> Self:
        """Load a state that torchvision publishes (.pth), or the same as safetensors.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no state of this architecture, or holds more than tensors.
        """
        state = _state(weights)
        network: nn.Module = getattr(optical_flow, architecture)(weights=None, progress=False)
        expected = network.state_dict()
        wrong = [
            key
            for key in expected.keys() | state.keys()
            if key not in expected or key not in state or expected[key].shape != state[key].shape
        ]
        if wrong:
            raise ValueError(
                f"{weights}: not a state of torchvision's {architecture}: {len(wrong)} names or shapes "
                f"differ, for instance {min(wrong)!r}"
            )
        network.load_state_dict(state)
        return cls(network, updates, f"RAFT ({architecture}, {weights.name}, sha256 {sha256(weights)[:12]})")

    @torch.inference_mode()
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate as `FlowEstimator` does; frames of any size are padded to one that RAFT takes."""
        device = next(self.network.parameters()).device
        height, width = first.shape[-2:]
        bottom, right = (_padding(side) for side in (height, width))
        padded = [
            F.pad(frames.to(device, torch.float32).clamp(-1, 1), (0, right, 0, bottom), mode="replicate")
            for frames in (first, second)
        ]
        flow: Tensor = self.network(*padded, num_flow_updates=self.updates)[-1]
        return flow[..., :height, :width].to(first.device)


def _padding(side: int) -> int:
    wanted = max(-(-side // _MULTIPLE) * _MULTIPLE, _MINIMUM)
    return wanted - side


def _state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; save torchvision's raft_large weights there, or name none to use DIS"
        )
    return read_state(path)
