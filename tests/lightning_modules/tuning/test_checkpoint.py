from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.tuning.checkpoint import refuse_other_branch, refuse_unshared, save_only
from keyface.lightning_modules.tuning.hyperparameters import arguments_of, plain
from keyface.lightning_modules.tuning.lora import Tuning
from keyface.lightning_modules.tuning.origin import fingerprint


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


class Pictures:
    def fingerprint(self) -> str:
        return "pictures"


@pytest.fixture
def module(backbone: Backbone, recognizer: nn.Module) -> Any:
    return IdentityModule(backbone, recognizer, tuning=Tuning(trainable="attn1"))


def content_of(module: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"state_dict": module.state_dict(), "optimizer_states": []}
    module.on_save_checkpoint(content)
    return content


def test_a_checkpoint_says_whose_it_is_and_how_much_was_seen(module: Any) -> None:
    content = content_of(module)
    origin = {
        "class": "keyface.lightning_modules.identity.IdentityModule",
        "backbone": fingerprint(module.backbone.unet),
        "data": None,
    }
    assert (content["branch"], content["origin"]) == (module.title, origin)
    assert (content["samples_seen"], content["rewinds"]) == (0, 0)
    names = [name for name, each in module.unet.named_parameters() if each.requires_grad]
    assert {name for name in content["state_dict"] if name.startswith("unet.")} == {
        f"unet.{name}" for name in names
    }
    rest = {name for name in content["state_dict"] if not name.startswith("unet.")}
    assert rest
    assert all(name.startswith("ema.") for name in rest)
    module.on_load_checkpoint({**content, "samples_seen": 12, "rewinds": 2})
    assert (module.samples_seen, module.rewinds) == (12, 2)
    del content["rewinds"]  # as in earlier versions
    module.on_load_checkpoint(content)
    assert module.rewinds == 0


def test_data_are_part_of_the_origin_while_it_trains(module: Any) -> None:
    for function, data, told in (
        (TrainerFn.FITTING, Pictures(), "pictures"),
        (TrainerFn.FITTING, object(), None),
        (TrainerFn.VALIDATING, Pictures(), None),
    ):
        module._trainer = SimpleNamespace(state=SimpleNamespace(fn=function), datamodule=data)
        assert module.origin()["data"] == told


@pytest.mark.parametrize("sharded", [False, True])
def test_what_a_training_cannot_go_on_from_is_refused_before_it_begins(
    module: Any, tmp_path: Path, sharded: bool
) -> None:
    path = tmp_path / "a.ckpt"

    def check(**changed: Any) -> None:
        torch.save({**content, **changed}, path)
        module.check_checkpoint(path, sharded)

    content = content_of(module)
    check()
    state = content["state_dict"]
    name = next(iter(state))
    with pytest.raises(ValueError, match="the checkpoint is that of another"):
        check(branch="another")
    with pytest.raises(ValueError, match="made with another backbone x"):
        check(origin={"backbone": "x"})
    with pytest.raises(ValueError, match="1 names differ, such as more"):
        check(state_dict={**state, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match="not finite: weights"):
        check(state_dict={**state, name: torch.full_like(state[name], torch.nan)})
    numbers = [{"state": {}, "param_groups": [{"params": [0]}]}]
    if sharded:
        module.check_checkpoint(tmp_path, sharded)  # a folder, which torch looks at
        with pytest.raises(ValueError, match="did not share the weights"):
            check(optimizer_states=numbers)
    else:
        check(optimizer_states=numbers)
        with pytest.raises(ValueError, match="is a folder with the parts"):
            module.check_checkpoint(tmp_path, sharded)
    for lacking in ({"state_dict": {}}, [1]):
        torch.save(lacking, path)
        with pytest.raises(ValueError, match="no checkpoint of a training"):
            module.check_checkpoint(path, sharded)


def test_a_checkpoint_that_names_no_branch_is_told_by_its_settings() -> None:
    layer = nn.Linear(1, 1)
    with pytest.warns(UserWarning, match="names no branch"):
        refuse_other_branch({"hyper_parameters": {"in_features": 1}}, layer, "mine")
    with pytest.warns(UserWarning, match="names no branch"):
        refuse_other_branch({}, layer, "mine")
    with pytest.raises(ValueError, match="another module, with foreign;"):
        refuse_other_branch({"hyper_parameters": {"foreign": 1, "strange": 2, "bias": 3}}, layer, "mine")
    refuse_other_branch({"branch": "mine", "hyper_parameters": {"foreign": 1}}, layer, "mine")


def test_optimizers_number_the_weights_in_any_order_of_groups() -> None:
    module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    refuse_unshared([{"param_groups": [{"params": [3]}, {"params": [2]}]}], module)
    refuse_unshared([], module)
