from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keyface.lightning_modules.tuning.checkpoint import refuse_unshared, save_only
from keyface.lightning_modules.tuning.hyperparameters import arguments_of, plain


@dataclass(frozen=True)
class Inner:
    rank: int = 2


@dataclass(frozen=True)
class Settings:
    name: str = "x"
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class HoldsNetwork:
    network: nn.Module


def test_plain_keeps_what_needs_no_code_to_be_read() -> None:
    values = {
        "text": "a",
        "path": Path("b/c"),
        "settings": Settings(),
        "network": nn.Identity(),
        "holder": HoldsNetwork(nn.Identity()),
        "function": print,
        "kind": Settings,
        "nothing": None,
    }
    assert plain(values) == {
        "text": "a",
        "path": "b/c",
        "settings": {"name": "x", "inner": {"rank": 2}},
        "nothing": None,
    }


def test_arguments_of_finds_those_that_were_kept() -> None:
    layer = nn.Linear(3, 5)
    assert arguments_of(layer)["in_features"] == 3
    assert "device" not in arguments_of(layer)


def test_save_only_leaves_out_and_takes_back() -> None:
    def build() -> Any:
        network = nn.ModuleDict({"kept": nn.Linear(2, 2), "frozen": nn.Linear(2, 2)})
        save_only(network, lambda name: name.startswith("kept."), "network")
        return network

    first, second = build(), build()
    state = first.state_dict()
    assert set(state) == {"kept.weight", "kept.bias"}
    frozen = second["frozen"].weight.clone()
    second.load_state_dict(state)
    assert torch.equal(second["kept"].weight, first["kept"].weight)
    assert torch.equal(second["frozen"].weight, frozen)
    del state["kept.bias"]
    with pytest.raises(ValueError, match=r"network: .*kept\.bias"):
        second.load_state_dict(state)
    with pytest.raises(ValueError, match="other"):
        second.load_state_dict({**first.state_dict(), "other": torch.zeros(1)})


def test_processes_that_share_weights_refuse_an_optimizer_that_numbers_only_those_in_training() -> None:
    module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    alone = torch.optim.SGD(module[1].parameters()).state_dict()
    assert alone["param_groups"][0]["params"] == [0, 1]
    with pytest.raises(ValueError, match="go on with the strategy that made it"):
        refuse_unshared([alone], module)
    together = torch.optim.SGD(module.parameters()).state_dict()
    together["param_groups"][0]["params"] = [2, 3]
    refuse_unshared([together], module)
