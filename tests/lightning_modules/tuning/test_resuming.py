"""What a branch saves and goes on from: its own checkpoints, with nothing in them that is not finite."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from keyface.cli.training.subcommands import with_checkpoints
from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.branch import BranchModule
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.divergence import nonfinite_parts
from keyface.lightning_modules.tuning.lora import Tuning
from keyface.lightning_modules.tuning.origin import refuse_other_origin

pytestmark = [
    # Advice on data loader workers and on skipped steps, which tiny runs do not heed.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
    pytest.mark.filterwarnings("ignore:.*losses were not finite up to step"),
]

NOISE = NoisyInput(source="noise")
TUNING = Tuning(ema_decay=0.5, export=False)


def fit(
    module: BranchModule,
    batches: list[dict[str, Any]],
    folder: Path,
    callbacks: list[Callback],
    **options: Any,
) -> None:
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=8,
        limit_val_batches=0,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None), **options)


def diverging(backbone: Backbone, recognizer: nn.Module, at: int) -> IdentityModule:
    """ε1 whose learning rate is infinite in one step: a finite loss, and weights that are not."""
    return IdentityModule(
        backbone,
        recognizer,
        noisy_input=NOISE,
        tuning=TUNING,
        lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: math.inf if step == at - 1 else 1.0),
    )


def saved(folder: Path) -> dict[str, dict[str, Any]]:
    """Checkpoints by name."""
    return {path.stem: torch.load(path, weights_only=True) for path in folder.rglob("*.ckpt")}


def test_a_diverged_run_keeps_its_last_finite_checkpoint_and_names_it(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    every_step = ModelCheckpoint(
        every_n_train_steps=1, save_last=True, save_top_k=-1, monitor="step", mode="max"
    )
    with pytest.raises(
        FloatingPointError, match=r"by step 3, .*finite: weights, their average.*/last\.ckpt$"
    ):
        fit(diverging(backbone, recognizer, at=3), [batch] * 4, tmp_path, [every_step])
    checkpoints = saved(tmp_path)
    assert set(checkpoints) == {"epoch=0-step=1", "epoch=0-step=2", "last"}
    assert all(nonfinite_parts(content) == [] for content in checkpoints.values())
    assert checkpoints["last"]["global_step"] == 2


def test_an_exception_saves_nothing_that_is_not_finite(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    """The command line's own callback, in a run whose losses follow its weights before an epoch ends."""
    with pytest.raises(FloatingPointError, match=r"3 losses in a row .* has saved no checkpoint"):
        fit(diverging(backbone, recognizer, at=2), [batch] * 8, tmp_path, with_checkpoints(None, None))
    assert saved(tmp_path) == {}

    (tmp_path / "finite").mkdir()
    bad = {**batch, "image": torch.full_like(batch["image"], math.nan)}
    unharmed = IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=TUNING)
    with pytest.raises(FloatingPointError, match="3 losses in a row"):
        fit(unharmed, [batch, bad, bad, bad], tmp_path / "finite", with_checkpoints(None, None))
    assert nonfinite_parts(saved(tmp_path)["last"]) == [], "weights that are fine are kept"


def test_parts_that_are_not_finite_are_named() -> None:
    bad = torch.tensor([0.0, math.inf])
    content = {"state_dict": {"unet.a": torch.ones(2), "ema.a": torch.ones(2)}, "optimizer_states": []}
    assert nonfinite_parts(content) == []
    adam = [{"state": {0: {"step": torch.tensor(1.0), "exp_avg_sq": bad}}, "param_groups": [{"lr": 0.1}]}]
    assert nonfinite_parts({**content, "optimizer_states": adam}) == ["optimizer state"]
    averaged = {"state_dict": {"unet.a": torch.ones(2), "ema.a": bad * math.nan}}
    assert nonfinite_parts(averaged) == ["their average"]


def test_the_other_branch_s_checkpoint_is_refused(
    backbone: Backbone, recognizer: nn.Module, encoder: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    def module(kind: type[BranchModule], network: nn.Module) -> BranchModule:
        built: BranchModule = kind(backbone, network, noisy_input=NOISE, tuning=TUNING)  # type: ignore[call-arg, arg-type]
        return built

    steps = with_checkpoints(None, None)
    fit(module(DirectionModule, encoder), [batch], tmp_path, steps)
    (path,) = tmp_path.rglob("last.ckpt")
    start = module(IdentityModule, recognizer)
    before = start.unet.conv_in.weight.detach().clone()
    for ask in (
        lambda: start.check_checkpoint(path, sharded=False),
        lambda: fit(start, [batch], tmp_path / "other", [], ckpt_path=path),
    ):
        with pytest.raises(ValueError, match=r"\(ε1\): the checkpoint is that of Editing branch \(ε2\)"):
            ask()
    assert torch.equal(start.unet.conv_in.weight, before)
    module(DirectionModule, encoder).check_checkpoint(path, sharded=False)

    content = torch.load(path, weights_only=True)
    del content["branch"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="that of another module, with categories"):
        start.check_checkpoint(path, sharded=False)
    with pytest.warns(UserWarning, match="earlier version and names no branch"):
        module(DirectionModule, encoder).check_checkpoint(path, sharded=False)


def poison_weights(content: dict[str, Any]) -> None:
    content["state_dict"]["unet.conv_in.weight"][0] = math.nan


def poison_average(content: dict[str, Any]) -> None:
    content["state_dict"]["ema.module.0"][0] = math.inf


def poison_optimizer(content: dict[str, Any]) -> None:
    content["optimizer_states"][0]["state"][0]["exp_avg"][0] = math.nan


@pytest.mark.parametrize(
    ("poison", "named"),
    [
        (poison_weights, "weights"),
        (poison_average, "their average"),
        (poison_optimizer, "optimizer state"),
    ],
)
def test_what_an_earlier_version_saved_of_a_diverged_run_is_refused(
    poison: Callable[[dict[str, Any]], None],
    named: str,
    backbone: Backbone,
    recognizer: nn.Module,
    batch: dict[str, Any],
    tmp_path: Path,
) -> None:
    def module() -> IdentityModule:
        return IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=TUNING)

    fit(module(), [batch], tmp_path, with_checkpoints(None, None))
    (path,) = tmp_path.rglob("last.ckpt")
    module().check_checkpoint(path, sharded=False)
    content = torch.load(path, weights_only=True)
    poison(content)
    torch.save(content, path)
    message = rf"run that diverged \(not finite: {named}\)"
    with pytest.raises(ValueError, match=message):
        module().check_checkpoint(path, sharded=False)
    with pytest.raises(ValueError, match=message):
        fit(module(), [batch], tmp_path / "other", [], ckpt_path=path)


def test_values_that_come_past_the_checks_are_found_before_the_first_step(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    """As a checkpoint in parts does, which torch reads by itself."""
    module = IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=TUNING)
    module.unet.conv_in.weight.data[0] = math.nan
    with pytest.raises(ValueError, match=r"run that diverged \(not finite: weights\)"):
        fit(module, [batch], tmp_path, [])


def every_step() -> ModelCheckpoint:
    return ModelCheckpoint(every_n_train_steps=1, save_last=True, save_top_k=-1, monitor="step", mode="max")


class Rates(Callback):
    """Notes the learning rate after each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(float(trainer.optimizers[0].param_groups[0]["lr"]))


def test_skip_passes_over_any_number_of_losses_that_are_not_finite(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    bad = {**batch, "image": torch.full_like(batch["image"], math.nan)}
    tuning = Tuning(ema_decay=0.5, export=False, on_nonfinite="skip")
    module = IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=tuning)
    fit(module, [batch, *[bad] * 5, batch, batch], tmp_path, [every_step()])
    last = saved(tmp_path)["last"]
    assert last["global_step"] == 8
    assert nonfinite_parts(last) == []


def test_rewind_goes_back_to_the_newest_checkpoint_at_half_the_rate(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    tuning = Tuning(ema_decay=0.5, export=False, on_nonfinite="rewind", max_nonfinite=2)
    module = IdentityModule(
        backbone,
        recognizer,
        noisy_input=NOISE,
        tuning=tuning,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1.0),
    )
    bad = {**batch, "image": torch.full_like(batch["image"], math.nan)}
    rates = Rates()
    # A step, two losses that are none (one rewind), a step, two more (a second rewind), two steps.
    order = [batch, bad, bad, batch, bad, bad, batch, batch]
    with pytest.warns(UserWarning, match=r"back to .*last.ckpt .* at half the learning rate, 1 of 3 times"):
        fit(module, order, tmp_path, [every_step(), rates])
    assert module.rewinds == 2
    assert [rates.seen[step] for step in (0, 3, 6, 7)] == pytest.approx([1e-3, 5e-4, 2.5e-4, 2.5e-4])
    last = saved(tmp_path)["last"]
    assert nonfinite_parts(last) == []
    assert last["rewinds"] == 2
    assert last["lr_schedulers"][0]["base_lrs"] == [pytest.approx(2.5e-4)]


def test_rewind_takes_back_the_weights(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    """Weights that became infinite in one step are those of the checkpoint again."""
    module = diverging(backbone, recognizer, at=3)
    module.tuning = Tuning(ema_decay=0.5, export=False, on_nonfinite="rewind", max_nonfinite=1)
    fit(module, [batch] * 8, tmp_path, [FirstTwo()])
    assert module.rewinds == 1
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


class FirstTwo(ModelCheckpoint):
    """Saves after each of the first two steps alone, since what follows diverges."""

    def __init__(self) -> None:
        super().__init__(every_n_train_steps=1, save_top_k=-1, monitor="step", mode="max")

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        if trainer.global_step <= 2:
            super().on_train_batch_end(trainer, *arguments)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Save nothing more."""


def test_rewind_gives_up_after_three_times_and_needs_a_checkpoint(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    bad = {**batch, "image": torch.full_like(batch["image"], math.nan)}
    tuning = Tuning(ema_decay=0.5, export=False, on_nonfinite="rewind", max_nonfinite=1)

    def module() -> IdentityModule:
        return IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=tuning)

    with pytest.raises(FloatingPointError, match="no checkpoint yet to rewind to"):
        fit(module(), [bad], tmp_path / "none", [every_step()])
    stubborn = module()
    with pytest.raises(FloatingPointError, match="not finite, up to step 4, after 3 rewinds; lower"):
        fit(stubborn, [batch, *[bad] * 5], tmp_path / "three", [every_step()])
    assert stubborn.rewinds == 3


def test_another_base_and_other_data_are_refused_with_the_difference(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    first = IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=TUNING)
    fit(first, [batch], tmp_path, [every_step()])
    (path,) = tmp_path.rglob("last.ckpt")
    noted = torch.load(path, weights_only=True)["origin"]
    assert noted["class"] == "keyface.lightning_modules.identity.IdentityModule"

    with torch.no_grad():
        backbone.unet.conv_in.weight += 1e-3
    second = IdentityModule(backbone, recognizer, noisy_input=NOISE, tuning=TUNING)
    with pytest.raises(
        ValueError, match=rf"another backbone {noted['backbone']} \(here (?!{noted['backbone']})"
    ):
        second.check_checkpoint(path, sharded=False)
    with pytest.raises(ValueError, match="made with another backbone"):
        fit(second, [batch], tmp_path / "again", [], ckpt_path=str(path), weights_only=True)


def test_what_earlier_versions_did_not_note_is_not_compared() -> None:
    refuse_other_origin({}, {"class": "A", "backbone": "b", "data": "c"}, "ε1")
    refuse_other_origin({"origin": {"data": None, "class": "A"}}, {"class": "A", "data": "c"}, "ε1")
    with pytest.raises(ValueError, match=r"another class B \(here A\), another data 5 \(here 6\)"):
        refuse_other_origin({"origin": {"class": "B", "data": "5"}}, {"class": "A", "data": "6"}, "ε1")
