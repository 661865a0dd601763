"""The miniature's training modules, fitted for real on a handful of rendered faces."""

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.nn.functional import normalize

from keyface.callbacks.export import ExportNetwork
from keyface.callbacks.initial import InitialWeights
from keyface.datamodules.rendered import RenderedDataModule
from keyface.lightning_modules.miniature.attributes import AttributesModule
from keyface.lightning_modules.miniature.autoencoder import AutoencoderModule
from keyface.lightning_modules.miniature.clip import ClipModule
from keyface.lightning_modules.miniature.decoder import DecoderModule
from keyface.lightning_modules.miniature.diffusion import (
    DiffusionModule,
    pair_losses,
    spread_timesteps,
)
from keyface.lightning_modules.miniature.recognition import (
    RecognitionModule,
    add_angular_margin,
)
from keyface.miniature.measure import verification_auc
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.networks.recognition import IdentityNetwork
from keyface.miniature.population.captions import write_captions_of
from keyface.miniature.storage import load_network


def data(pairs: bool = True) -> RenderedDataModule:
    return RenderedDataModule(identities=4, size=64, batch_size=4, pairs=pairs, held_out=2, steps=2)


def fit(module: LightningModule, datamodule: RenderedDataModule, folder: Path) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=2,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ExportNetwork(str(folder / "export"))],
    )
    trainer.fit(module, datamodule=datamodule)
    return trainer


def test_margin_is_added_to_the_true_angle_only() -> None:
    cosine = torch.tensor([[math.cos(1.0), math.cos(0.5)]])
    shifted = add_angular_margin(cosine, torch.tensor([0]), 0.15)
    torch.testing.assert_close(shifted, torch.tensor([[math.cos(1.15), math.cos(0.5)]]))


def test_margin_never_rewards_the_opposite_direction() -> None:
    angles = torch.linspace(0.01, math.pi - 0.01, 50)
    shifted = add_angular_margin(angles.cos()[:, None], torch.zeros(50, dtype=torch.long), 0.3)[:, 0]
    assert bool((shifted[1:] < shifted[:-1]).all())


@pytest.mark.parametrize(
    ("share", "start", "above"), [(0.0, 700, 0.3), (0.5, 700, 0.65), (0.6, 860, 0.656), (1.0, 700, 1.0)]
)
def test_noisy_timesteps_are_drawn_more_often(share: float, start: int, above: float) -> None:
    timesteps = spread_timesteps(torch.arange(1000) / 1000, share, start)
    assert int(timesteps.min()) >= 0
    assert int(timesteps.max()) == 999
    assert float((timesteps >= start).float().mean()) == pytest.approx(above, abs=0.005)


def test_pair_losses_of_two_pairs_by_hand() -> None:
    errors = torch.zeros(4, 1, 2, 2)
    errors[0, 0] = torch.tensor([[3.0, 1.0], [0.0, 0.0]])  # first pair: rows 0 and 2
    errors[2, 0] = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    errors[1], errors[3] = 1.0, 1.0  # second pair: the same error everywhere, no difference
    differs = torch.zeros(2, 2, 2, dtype=torch.bool)
    differs[0, 0, 0] = True
    gaps = torch.full((2, 2, 2), 0.5)
    losses = pair_losses(errors, differs, gaps)
    torch.testing.assert_close(losses.plain, torch.tensor([(9 + 1 + 1 + 1 + 4) / 8, 1.0]))
    torch.testing.assert_close(losses.pair, torch.tensor([(9 + 1) / 2, 0.0]))
    torch.testing.assert_close(losses.contrast, torch.tensor([(4 + 4) / 4 + 4 / 0.5, 0.0]))


def test_diffusion_goes_on_from_exported_weights(tmp_path: Path) -> None:
    first = DiffusionModule(widths=(32, 32, 64))
    first.export(tmp_path)
    second = DiffusionModule(widths=(32, 32, 64))
    begun = InitialWeights({name: str(tmp_path / name) for name in ("unet", "text_encoder")})
    begun.setup(Trainer(logger=False, accelerator="cpu"), second, "fit")
    for ours, theirs in (
        (second.unet, first.unet),
        (second.text_encoder, first.text_encoder),
    ):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_the_card_names_each_earlier_stage_once(tmp_path: Path) -> None:
    first = {"configuration": {"lr": 1}, "steps": 3, "samples_seen": 12}
    second = {"configuration": {"lr": 2}, "steps": 4, "samples_seen": 16}
    for name, card in (("a", first), ("b", {**second, "earlier": [first]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps(card))
    module = AttributesModule(width=8)
    begun = InitialWeights({"network": str(tmp_path / "a"), "other": str(tmp_path / "b")})
    callback = ExportNetwork(str(tmp_path / "export"))
    trainer = Trainer(
        logger=False, callbacks=[begun, callback], enable_checkpointing=False, accelerator="cpu"
    )
    callback.setup(trainer, module, "fit")
    callback.on_fit_end(trainer, module)
    assert json.loads((tmp_path / "export" / "card.json").read_text())["earlier"] == [first, second]


def test_a_recognizer_learns_to_find_faces(tmp_path: Path) -> None:
    module = RecognitionModule(4, architecture="vgg", width=8, dim=16, finds_faces=True)
    before = module.network.finder.head.weight.clone()  # type: ignore[union-attr]
    fit(module, data(), tmp_path)
    assert not torch.equal(before, module.network.finder.head.weight)  # type: ignore[union-attr]
    load_network(IdentityNetwork("vgg", 8, 16, finds_faces=True), tmp_path / "export")


def test_auc_is_one_for_people_apart_and_half_for_a_constant() -> None:
    identity = torch.tensor([0, 0, 1, 1])
    apart = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]))
    assert verification_auc(apart, identity) == 1
    assert verification_auc(torch.ones(4, 2) / math.sqrt(2), identity) == pytest.approx(0.5)


def test_autoencoder_then_diffusion(tmp_path: Path) -> None:
    fit(AutoencoderModule(width=32, component_images=4), data(pairs=False), tmp_path / "vae")
    exported = PatchAutoencoder.from_pretrained(tmp_path / "vae" / "export", torch_dtype=torch.float32)
    assert bool(exported.components.any())
    module = DiffusionModule(str(tmp_path / "vae" / "export"), widths=(32, 32, 32), text_width=32)
    before = {name: value.clone() for name, value in module.autoencoder.state_dict().items()}
    trainer = fit(module, data(), tmp_path / "unet")
    assert {"unet", "text_encoder", "tokenizer", "scheduler", "card.json"} <= {
        path.name for path in (tmp_path / "unet" / "export").iterdir()
    }
    assert math.isfinite(trainer.callback_metrics["val/loss_t900"])
    for name, value in module.autoencoder.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_the_decoder_alone_learns_from_what_the_base_makes(tmp_path: Path) -> None:
    module = DecoderModule()
    frozen = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, RenderedDataModule(identities=4, size=256, batch_size=3, held_out=2, steps=2), tmp_path)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, frozen[name])}
    assert {name.split(".")[1] for name in changed - {"samples_seen"}} == {"stem", "levels", "ups", "head"}
    exported = PatchAutoencoder.from_pretrained(tmp_path / "export", torch_dtype=torch.float32)
    torch.testing.assert_close(exported.components, module.network.components, atol=1e-3, rtol=1e-3)


def test_latents_for_the_decoder_are_noisy_and_denoised() -> None:
    """A level of noise that the base takes away again leaves most of the picture, and not all of it."""
    torch.manual_seed(0)
    module = DecoderModule(most_noise=3)
    faces = RenderedDataModule(identities=4, size=256, batch_size=4, held_out=2, steps=2)
    batch = faces.with_pictures(faces.training_batch(0))
    latents = module.network.encode(batch["image"]).latent_dist.mode()
    with torch.no_grad():
        denoised = module._denoised(latents, batch["caption"])
    error = float((denoised - latents).square().mean() / latents.var())
    assert 0.001 < error < 0.5
    with pytest.raises(ValueError, match="most_noise 11: from 1 to the grid's 10 steps"):
        DecoderModule(most_noise=11)


def test_identity_network_is_exported_with_its_card(tmp_path: Path) -> None:
    module = RecognitionModule(identities=4, width=8, dim=16, aligned=True)
    trainer = fit(module, data(), tmp_path)
    assert 0 <= float(trainer.callback_metrics["val/auc"]) <= 1
    load_network(IdentityNetwork("iresnet", 8, 16, aligned=True), tmp_path / "export")
    card = json.loads((tmp_path / "export" / "card.json").read_text())
    assert card["samples_seen"] == 16
    assert card["data"]["identities"] == 4


def test_clip_learns_to_tell_captions_of_the_same_words_apart() -> None:
    """Of pictures and captions that never change, with and without the loss for it."""
    caption, exchanged = "a man, wearing lipstick, no earrings", "a man, no lipstick, wearing earrings"
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    margins = {}
    for weight in (0.0, 4.0):
        torch.manual_seed(0)
        module = ClipModule(dim=16, width=8, image_size=32, pair_weight=0.0, exchange_weight=weight)
        cast(Any, module).log = cast(Any, module).log_dict = lambda *_, **__: None
        optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
        for _ in range(25):
            optimizer.zero_grad()
            module.training_step({"image": images, "caption": [caption] * 2}, 0).backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            text = module.network.encode_text([caption, exchanged])
            margins[weight] = float((text[0] - text[1]) @ module.network.encode_image(images[:1])[0])
    assert margins[4.0] > margins[0.0] + 0.1
    assert float(module._margin(images, text, [None] * 2)) == 0.0


def test_every_second_step_decides_what_the_captioner_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has canonical captions of the labels, and others that are wrong in one phrase."""
    module = ClipModule(dim=16, width=8, image_size=32, choice_weight=1.0)
    logged: list[str] = []
    cast(Any, module).log = lambda name, *_, **__: logged.append(name)
    cast(Any, module).log_dict = lambda *_, **__: None
    encoded: list[list[str]] = []
    encode_text = module.network.encode_text
    monkeypatch.setattr(
        module.network, "encode_text", lambda texts: (encoded.append(texts), encode_text(texts))[1]
    )
    source = data()
    batch = source.with_pictures(source.training_batch(0))
    module.training_step(batch, 0)
    assert (logged, encoded) == ([], [batch["caption"]])
    module.training_step(batch, 1)
    canonical, wrong = encoded[1:]
    assert logged == ["train/choices"]
    assert canonical == write_captions_of(batch["labels"])
    assert [one == other for one, other in zip(canonical, wrong, strict=True)] == [False] * len(canonical)


def test_a_locked_image_tower_stays_as_it_is(tmp_path: Path) -> None:
    module = ClipModule(dim=16, width=8, image_size=32, locked_image=True)
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    fit(module, data(), tmp_path)
    after = module.network.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert "clip.text_projection" in changed
    assert not [name for name in changed if name.startswith("clip.visual.")]


@pytest.mark.parametrize("module", [ClipModule(dim=16, width=8), AttributesModule(width=8)])
def test_other_networks_are_exported(module: LightningModule, tmp_path: Path) -> None:
    fit(module, data(), tmp_path)
    assert (tmp_path / "export" / "model.safetensors").is_file()
