"""Losses that are not finite are counted and stepped over, and the newest checkpoint is found."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.tuning.divergence import Arriving, last_saved, nonfinite_parts
from keyface.lightning_modules.tuning.lora import Tuning


def training(backbone: Backbone, recognizer: nn.Module, processes: int = 1, **settings: Any) -> Any:
    """Return a module in a training that has saved nothing."""
    module: Any = IdentityModule(backbone, recognizer, tuning=Tuning(ema_decay=None, **settings))
    module._trainer = SimpleNamespace(
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision and all),
        world_size=processes,
        global_step=5,
        checkpoint_callbacks=[],
        optimizers=[],
    )
    return module


def test_a_truth_value_arrives() -> None:
    assert Arriving(torch.tensor(1.0).isfinite()).read() is True
    assert Arriving(torch.tensor(torch.nan).isfinite()).read() is False


def test_losses_that_are_not_finite_are_counted_in_a_row(backbone: Backbone, recognizer: nn.Module) -> None:
    module = training(backbone, recognizer)
    told = [module.can_step(finite) for finite in (False, False, True, False, False)]
    assert told == [False, False, True, False, False]
    assert module.nonfinite_in_a_row == 2
    with pytest.raises(FloatingPointError, match="3 losses in a row were not finite, up to step 5; lower"):
        module.can_step(False)
    module.on_train_start()
    assert module.nonfinite_in_a_row == 0


def test_skipping_goes_on_however_many(backbone: Backbone, recognizer: nn.Module) -> None:
    module = training(backbone, recognizer, on_nonfinite="skip", max_nonfinite=1)
    assert [module.can_step(False) for _ in range(4)] == [False] * 4
    assert (module.nonfinite_in_a_row, module.rewinds) == (4, 0)


def test_several_processes_return_a_loss_and_drop_its_gradients(
    backbone: Backbone, recognizer: nn.Module
) -> None:
    module = training(backbone, recognizer, processes=2)
    parameters = module.trained_parameters()
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    loss = module.skip_step(None)
    assert (loss.shape, float(loss.detach())) == ((), 0.0)
    loss.backward()
    assert all(parameter.grad.count_nonzero() == 0 for parameter in parameters)
    module.on_before_optimizer_step(optimizer)
    assert all(parameter.grad is None for parameter in parameters)
    own = torch.tensor(3.0)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    module.on_before_optimizer_step(optimizer)
    assert all(parameter.grad is not None for parameter in parameters), "of one step alone"
    assert module.skip_step(own) is own
    module.on_before_optimizer_step(optimizer)
    assert all(parameter.grad is None for parameter in parameters)


def test_one_process_leaves_a_step_out(backbone: Backbone, recognizer: nn.Module) -> None:
    module = training(backbone, recognizer)
    assert module.skip_step(torch.tensor(3.0)) is None
    weight = module.trained_parameters()[0]
    weight.grad = torch.ones_like(weight)
    module.on_before_optimizer_step(torch.optim.SGD([weight], lr=1.0))
    assert weight.grad is not None


def test_the_parts_that_are_not_finite_are_named() -> None:
    fine, broken = torch.zeros(2), torch.tensor([0.0, torch.inf])
    assert nonfinite_parts({}) == []
    assert nonfinite_parts({"state_dict": {"unet.a": fine, "ema.a": fine}, "optimizer_states": [1]}) == []
    assert nonfinite_parts({"state_dict": {"unet.a": broken, "ema.a": fine}}) == ["weights"]
    assert nonfinite_parts({"state_dict": {"unet.a": fine, "ema.a": broken}}) == ["their average"]
    assert nonfinite_parts({"optimizer_states": [{"state": {0: broken}}]}) == ["optimizer state"]


def test_the_newest_checkpoint_that_exists_is_the_last(tmp_path: Path) -> None:
    def found(*names: str, best: str = "", last: str = "") -> Path | None:
        callback = ModelCheckpoint()
        callback.best_k_models = {str(tmp_path / name): torch.tensor(0.0) for name in names}
        callback.best_model_path, callback.last_model_path = (
            str(tmp_path / name) if name else "" for name in (best, last)
        )
        trainer: Any = SimpleNamespace(checkpoint_callbacks=[object(), callback])
        return last_saved(trainer)

    for age, name in enumerate(("new.ckpt", "last.ckpt", "older.ckpt")):
        (tmp_path / name).touch()
        seconds = 1000 if name != "older.ckpt" else 1000 - age
        os.utime(tmp_path / name, (seconds, seconds))
    assert found() is None
    assert found("gone.ckpt") is None
    assert found("older.ckpt", "new.ckpt", best="older.ckpt") == tmp_path / "new.ckpt"
    assert found("older.ckpt", best="new.ckpt") == tmp_path / "new.ckpt"
    assert found("older.ckpt", "new.ckpt", best="gone.ckpt", last="last.ckpt") == tmp_path / "last.ckpt"


def test_an_optimizer_that_is_not_finite_is_refused_when_training_begins(
    backbone: Backbone, recognizer: nn.Module
) -> None:
    module = training(backbone, recognizer)
    optimizer = torch.optim.SGD(module.trained_parameters(), lr=1.0)
    module._trainer.optimizers = [optimizer]
    module.on_train_start()
    optimizer.state[module.trained_parameters()[0]]["momentum_buffer"] = torch.tensor(torch.nan)
    with pytest.raises(ValueError, match="not finite: optimizer state"):
        module.on_train_start()


def test_a_rewind_takes_weights_optimizer_and_half_of_the_rate(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path
) -> None:
    module = training(backbone, recognizer, on_nonfinite="rewind", max_nonfinite=1)
    optimizer = torch.optim.SGD(module.trained_parameters(), lr=8.0)
    scheduler = SimpleNamespace(base_lrs=[8.0])
    content = {
        "state_dict": module.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"base_lrs": [8.0]}],
        "global_step": 3,
    }
    torch.save(content, tmp_path / "last.ckpt")
    callback = ModelCheckpoint()
    callback.last_model_path = str(tmp_path / "last.ckpt")
    module._trainer.checkpoint_callbacks = [callback]
    module._trainer.optimizers = [optimizer]
    module._trainer.lr_scheduler_configs = [SimpleNamespace(scheduler=scheduler)]
    weight = module.trained_parameters()[0]
    before = weight.detach().clone()
    for rate in (4.0, 2.0, 1.0):
        weight.data.fill_(torch.nan)
        with pytest.warns(UserWarning, match="at half the learning rate"):
            assert not module.can_step(False)
        assert torch.equal(weight, before)
        assert (optimizer.param_groups[0]["lr"], scheduler.base_lrs) == (rate, [rate])
        assert module.nonfinite_in_a_row == 0
    assert module.rewinds == 3
    with pytest.raises(FloatingPointError, match="after 3 rewinds"):
        module.can_step(False)
