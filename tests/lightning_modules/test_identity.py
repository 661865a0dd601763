import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.lightning_modules.branch import Losses
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Lora, Tuning
from keyface.models.judges import Judges

pytestmark = [
    # Advice on data loader workers and on skipped validation and steps, which tiny runs do not heed.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]

QUICK = NoisyInput(source="inverted", steps=2)


class Batches(Dataset[dict[str, Any]]):
    """Ready-made batches as a data set."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batches[index]


def loader(batch: dict[str, Any], batches: int = 2) -> DataLoader[dict[str, Any]]:
    return DataLoader(Batches([batch] * batches), batch_size=None)


def trainer(folder: Path, steps: int, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def fit(module: IdentityModule, fitted_by: Trainer, batch: dict[str, Any], **options: Any) -> None:
    fitted_by.fit(module, loader(batch), loader(batch, 1), **options)


@pytest.fixture
def module(backbone: Backbone, recognizer: nn.Module) -> IdentityModule:
    return IdentityModule(backbone, recognizer, noisy_input=QUICK, tuning=Tuning(ema_decay=0.5))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("unroll_steps", [1, 2])
def test_gradient_reaches_every_weight_and_no_frozen_one(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], checkpointing: bool, unroll_steps: int
) -> None:
    tuning = Tuning(gradient_checkpointing=checkpointing)
    module = IdentityModule(
        backbone, recognizer, noisy_input=QUICK, unroll_steps=unroll_steps, tuning=tuning, pixel_weight=0.0
    )
    losses = module.losses(batch, torch.Generator().manual_seed(0))
    torch.autograd.backward(losses.values["loss"])  # the identity term alone: through alignment and decoder
    gradients = {name: parameter.grad for name, parameter in module.unet.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    moved = [
        name for name, gradient in gradients.items() if gradient is not None and gradient.abs().sum() > 0
    ]
    assert len(moved) > 0.8 * len(gradients)
    assert all(parameter.grad is None for parameter in module.frozen.parameters())


def test_loss_is_eq_5(module: IdentityModule, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        values = module.losses(batch, torch.Generator().manual_seed(0)).values
        images = module.reconstruct(batch, torch.Generator().manual_seed(0))
    assert images.shape == batch["image"].shape
    assert math.isclose(values["pixel"], (images - batch["image"]).abs().mean(), rel_tol=1e-5)
    assert math.isclose(values["loss"], values["pixel"] + values["identity"], rel_tol=1e-5)


def test_training_changes_the_network_and_not_the_base(
    module: IdentityModule, batch: dict[str, Any], tmp_path: Path
) -> None:
    base = {name: value.clone() for name, value in module.backbone.unet.state_dict().items()}
    fit(module, trainer(tmp_path, 2, limit_val_batches=1), batch)
    assert all(torch.equal(value, base[name]) for name, value in module.backbone.unet.state_dict().items())
    assert not torch.equal(module.unet.conv_in.weight, base["conv_in.weight"])
    assert module.samples_seen == 4
    assert module.losses_by_image is not None
    timesteps, losses, total = module.losses_by_image
    assert (len(timesteps), len(losses), total) == (
        2,
        2,
        module.backbone.scheduler.config.num_train_timesteps,
    )
    logged = float(module.trainer.callback_metrics["train/loss"])
    assert math.isclose(float(losses.mean()), logged, rel_tol=1e-5)
    assert {"train/loss", "val/loss", "val/pixel", "val/identity"} <= set(module.trainer.callback_metrics)
    assert not module.frozen.training


def test_every_step_draws_anew_and_every_seed_its_own(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    class Watched(IdentityModule):
        def losses(self, batch: dict[str, Any], generator: torch.Generator) -> Losses:
            drawn.append(torch.rand(1, generator=generator).item())
            return super().losses(batch, generator)

    runs = []
    for seed in (0, 0, 1):
        drawn: list[float] = []
        module = Watched(
            backbone,
            recognizer,
            noisy_input=NoisyInput(source="noise"),
            tuning=Tuning(ema_decay=None, export=False),
            seed=seed,
        )
        fit(module, trainer(tmp_path, 2, limit_val_batches=0), batch)
        runs.append(drawn)
    assert runs[0] == runs[1]
    assert len({*runs[0], *runs[2]}) == 4


def test_learning_lowers_the_loss(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    module = IdentityModule(
        backbone,
        recognizer,
        noisy_input=NoisyInput(source="noise", steps=4),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        tuning=Tuning(ema_decay=None, export=False),
    )
    batch["latent"] = backbone.encode_images(batch["image"]).detach()
    judged = torch.Generator
    with torch.no_grad():
        before = module.losses(batch, judged().manual_seed(9)).values["loss"].item()
    fit(module, trainer(tmp_path, 15, limit_val_batches=0, max_epochs=-1), batch)
    with torch.no_grad():
        after = module.losses(batch, judged().manual_seed(9)).values["loss"].item()
    assert after < before


def test_checkpoint_holds_what_is_trained_and_resumes(
    module: IdentityModule, backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    first = trainer(tmp_path, 2, limit_val_batches=0)
    fit(module, first, batch)
    path = tmp_path / "last.ckpt"
    first.save_checkpoint(path)
    names = torch.load(path, weights_only=True)["state_dict"].keys()
    assert {name.split(".")[0] for name in names} == {"unet", "ema"}

    again = IdentityModule(backbone, recognizer, noisy_input=QUICK, tuning=Tuning(ema_decay=0.5))
    fit(again, trainer(tmp_path, 3, limit_val_batches=0), batch, ckpt_path=path)
    assert again.global_step == 3
    assert again.samples_seen == 6
    assert again.ema is not None
    assert again.ema.n_averaged == 3

    loaded = IdentityModule.load_from_checkpoint(path, backbone=backbone, identity_network=recognizer)
    assert loaded.tuning == Tuning(ema_decay=0.5)
    assert loaded.noisy_input == QUICK
    assert torch.equal(loaded.unet.conv_in.weight, module.unet.conv_in.weight)

    other = IdentityModule(backbone, recognizer, noisy_input=QUICK, tuning=Tuning(lora=Lora(rank=2)))
    with pytest.raises(ValueError, match="other settings of tuning"):
        fit(other, trainer(tmp_path, 3, limit_val_batches=0), batch, ckpt_path=path)


def test_validation_and_export_use_the_average(
    module: IdentityModule, batch: dict[str, Any], tmp_path: Path
) -> None:
    assert module.ema is not None
    weight = module.unet.conv_in.weight
    average = weight.detach().clone()
    weight.data += 1.0
    seen: list[torch.Tensor] = []
    module.validation_step = lambda *_: seen.append(weight.detach().clone())  # type: ignore[method-assign]
    trainer(tmp_path, 1).validate(module, loader(batch, 1), verbose=False)
    assert torch.equal(seen[0], average)
    assert torch.equal(weight, average + 1.0)
    exported = load_unet(module.export(tmp_path / "epsilon1"), module.backbone.unet)
    assert torch.equal(exported.conv_in.weight, average)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_fit_exports_into_the_run(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path, lora: Lora | None
) -> None:
    module = IdentityModule(backbone, recognizer, noisy_input=QUICK, tuning=Tuning(lora=lora))
    fit(module, trainer(tmp_path, 2), batch)
    card = (tmp_path / "export" / "README.md").read_text()
    assert "4 samples seen in 2 steps" in card
    assert "val/loss" in card
    with module.averaged():
        trained = {name: value.clone() for name, value in module.unet.state_dict().items()}
    exported = load_unet(tmp_path / "export", backbone.unet)
    if lora is None:
        assert all(torch.equal(value, trained[name]) for name, value in exported.state_dict().items())


def test_evaluators_score_validation_only(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any]
) -> None:
    judges = Judges({"other": recognizer.forward})
    module = IdentityModule(backbone, recognizer, judges, noisy_input=QUICK)
    assert "distance_other" not in module.losses(batch, torch.Generator()).values
    with torch.no_grad():
        values = module.losses(batch, torch.Generator().manual_seed(0)).values
    torch.testing.assert_close(values["distance_other"], values["identity"])


def test_losses_that_stay_not_finite_stop_the_run(
    module: IdentityModule, batch: dict[str, Any], tmp_path: Path
) -> None:
    batch["image"] = torch.full_like(batch["image"], math.nan)
    endless = trainer(tmp_path, 9, limit_val_batches=0, max_epochs=-1)
    with pytest.raises(FloatingPointError, match="3 losses in a row were not finite"):
        fit(module, endless, batch)


def test_one_bad_batch_is_skipped(module: IdentityModule, batch: dict[str, Any], tmp_path: Path) -> None:
    bad = {**batch, "image": torch.full_like(batch["image"], math.nan)}
    start = module.unet.conv_in.weight.detach().clone()
    trainer(tmp_path, -1, limit_val_batches=0, max_epochs=1).fit(
        module, DataLoader(Batches([bad, bad]), batch_size=None)
    )
    assert torch.equal(module.unet.conv_in.weight, start)
    mixed = DataLoader(Batches([bad, batch, bad, bad, batch]), batch_size=None)
    trainer(tmp_path, -1, limit_val_batches=0, max_epochs=1).fit(module, mixed)
    assert not torch.equal(module.unet.conv_in.weight, start)
    assert all(parameter.isfinite().all() for parameter in module.unet.parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda backbone: IdentityModule(backbone, nn.Identity(), unroll_steps=0), "unroll_steps is 0"),
        (lambda backbone: IdentityModule(backbone, "sphereface"), "recognizer 'sphereface' is unknown"),
        (lambda backbone: IdentityModule("no/such/folder"), "'no/such/folder' is neither"),
    ],
)
def test_bad_arguments_are_refused(
    backbone: Backbone, build: Callable[[Backbone], IdentityModule], message: str
) -> None:
    with pytest.raises((ValueError, LookupError, FileNotFoundError), match=message):
        build(backbone)


def test_arcface_s_onnx_teaches_the_u_net(
    backbone: Backbone, batch: dict[str, Any], recognizer_file: Path
) -> None:
    """Eq. 5 with a network in insightface's format: its gradient reaches the U-Net through aligned faces."""
    module = IdentityModule(
        backbone, f"arcface:{recognizer_file}", noisy_input=NoisyInput(source="noise"), pixel_weight=0.0
    )
    losses = module.losses(batch, torch.Generator().manual_seed(0))
    assert 0 < float(losses.values["identity"].detach()) < 2
    losses.values["loss"].backward()
    gradients = [parameter.grad for parameter in module.unet.parameters() if parameter.grad is not None]
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    assert not [name for name in module.state_dict() if "weight_" in name], "ArcFace is not checkpointed"
