"""What RAFT is given, and which states it takes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_small

from keyface.metrics.raft import Raft


class Noting(nn.Module):
    """Notes its frames; each refinement gives a flow of its number."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, device=device))

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        self.given = first, second
        return [torch.full((len(first), 2, *first.shape[-2:]), float(n)) for n in range(num_flow_updates)]


def test_frames_are_float32_within_range_and_the_last_refinement_counts() -> None:
    network = Noting()
    first, second = torch.linspace(-3, 3, 2 * 3 * 130 * 140).view(2, 3, 130, 140), torch.zeros(2, 3, 130, 140)
    flow = Raft(network)(first.double(), second.double())
    assert torch.equal(flow, torch.full((2, 2, 130, 140), 11.0))
    assert [given.dtype for given in network.given] == [torch.float32] * 2
    assert torch.equal(network.given[0][..., :130, :140], first.clamp(-1, 1))
    assert network.given[0].shape == (2, 3, 136, 144)
    assert not network.training
    assert not network.weight.requires_grad


def test_frames_go_where_the_network_is() -> None:
    network = Noting("meta")
    assert Raft(network)(*torch.zeros(2, 1, 3, 128, 128)).device.type == "cpu"
    assert [given.device.type for given in network.given] == ["meta"] * 2


def test_a_state_with_a_name_too_few_or_too_many_is_refused(tmp_path: Path) -> None:
    state = raft_small(weights=None, progress=False).state_dict()
    name = min(state)
    for wrong in ({k: v for k, v in state.items() if k != name}, {**state, "a": torch.zeros(1)}):
        save_file(wrong, tmp_path / "raft.safetensors")
        with pytest.raises(ValueError, match="raft_small: 1 names or shapes differ"):
            Raft.from_file(tmp_path / "raft.safetensors", "raft_small")
    save_file(state, tmp_path / "raft.safetensors")
    with pytest.raises(ValueError, match="not a state of torchvision's raft_large"):
        Raft.from_file(tmp_path / "raft.safetensors")
