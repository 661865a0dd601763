import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from keyface.diffusion.backbone import Backbone
from keyface.editing.settings import EditSettings
from keyface.lightning_modules.branch import Losses
from keyface.lightning_modules.direction import DirectionModule, Texts, mean_change
from keyface.lightning_modules.objectives.pairs import Pairs, PairsLoss
from keyface.lightning_modules.objectives.regional import Regional
from keyface.lightning_modules.objectives.targets import draw_edits, take_rows
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Lora, Tuning
from keyface.models.judges import Judges
from keyface.pipeline.defaults import defaults_of
from keyface.plugins import edits

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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(backbone: Backbone, encoder: nn.Module, **options: Any) -> DirectionModule:
    return DirectionModule(backbone, encoder, **{"categories": ["glasses"], "noisy_input": QUICK, **options})


def test_edits_are_drawn_among_what_the_image_does_not_have(batch: dict[str, Any]) -> None:
    categories = edits.select(["glasses", "smile"])
    batch["attributes"][0]["Smiling"] = True
    batch["attributes"][1] |= {"Eyeglasses": True, "Smiling": True}
    for seed in range(10):
        (edit,) = draw_edits(batch, categories, seeded(seed))
        assert (edit.row, edit.category.name) == (0, "glasses")
        assert edit.prompts.source == "a photo of a man, without glasses"
        assert "glasses" in edit.prompts.target
        assert "without" not in edit.prompts.target


def test_draws_follow_the_seed_and_reach_every_category(batch: dict[str, Any]) -> None:
    categories = edits.select(["glasses", "smile"])
    drawn = [
        tuple(edit.category.name for edit in draw_edits(batch, categories, seeded(seed)))
        for seed in range(20)
    ]
    assert drawn == [
        tuple(edit.category.name for edit in draw_edits(batch, categories, seeded(seed)))
        for seed in range(20)
    ]
    assert {name for names in drawn for name in names} == {"glasses", "smile"}


def test_both_pairs_of_an_edit_have_the_phrase_that_was_drawn(batch: dict[str, Any]) -> None:
    phrases = set()
    for seed in range(20):
        for edit in draw_edits(batch, edits.select(["glasses"]), seeded(seed)):
            drawn = edit.phrases.target.removeprefix("a photo of a person, ")
            assert edit.prompts.target.endswith(f", {drawn}")
            phrases.add(drawn)
    assert phrases == set(edits["glasses"].targets)


def test_take_rows_keeps_tensors_and_lists_together(batch: dict[str, Any]) -> None:
    taken = take_rows(batch, [1])
    assert torch.equal(taken["image"], batch["image"][1:])
    assert taken["caption"] == batch["caption"][1:]
    assert taken["attributes"] == batch["attributes"][1:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tuning": Tuning(gradient_checkpointing=True)},
        {"guidance_scale": 4.0, "gradient_steps": 2},
        {"reference": "reconstruction", "prompts": "category", "normalize_directions": False},
        {"noisy_input": NoisyInput(source="noise", steps=4), "generation_steps": 2},
        {"locality_weight": 5.0},
        {"regional": Regional(grid_steps=4)},
    ],
)
def test_gradient_reaches_every_weight_and_no_frozen_one(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], options: dict[str, Any]
) -> None:
    module = build(backbone, encoder, **options)
    losses = module.losses(batch, seeded())
    assert losses is not None
    torch.autograd.backward(losses.values["loss"])
    gradients = {name: parameter.grad for name, parameter in module.unet.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    moved = [
        name for name, gradient in gradients.items() if gradient is not None and gradient.abs().sum() > 0
    ]
    assert len(moved) > 0.8 * len(gradients)
    assert all(parameter.grad is None for parameter in module.frozen.parameters())


def test_loss_is_eq_6_of_the_generated_images(
    backbone: Backbone, encoder: Any, batch: dict[str, Any]
) -> None:
    module = build(backbone, encoder)
    chosen = draw_edits(batch, module.categories, seeded())
    with torch.no_grad():
        losses = module.losses(batch, seeded())
        # The category's draws come first; the noise levels go on from there.
        going_on = seeded()
        draw_edits(batch, module.categories, going_on)
        source, target = (
            backbone.encode_prompts([getattr(edit.prompts, which) for edit in chosen])
            for which in ("source", "target")
        )
        texts = Texts(source, target, source)
        latents = backbone.encode_images(batch["image"])
        generated = module.generate(batch, texts, latents, going_on)
        image = encoder.encode_image(generated) - encoder.encode_image(batch["image"])
        text = encoder.encode_text([e.prompts.target for e in chosen]) - encoder.encode_text(batch["caption"])
        cosine = torch.cosine_similarity(image, text, dim=-1).mean().item()
    assert losses is not None
    assert losses.images == 2
    assert math.isclose(losses.values["content"], image.norm(dim=-1).mean(), rel_tol=1e-4)
    assert math.isclose(losses.values["direction"], 1 - cosine, rel_tol=1e-3)
    assert math.isclose(
        losses.values["loss"], 0.3 * losses.values["content"] + 0.7 * (1 - cosine), rel_tol=1e-3
    )


def test_locality_is_the_change_outside_the_regions(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any]
) -> None:
    module = build(backbone, encoder, locality_weight=1.0, locality_margin=0.0)
    chosen = draw_edits(batch, module.categories, seeded())
    assert "l_eye" in chosen[0].category.regions
    reference = torch.zeros_like(batch["image"])
    labels = torch.zeros_like(batch["mask"])  # background everywhere but in one block of l_eye
    labels[:, 8:16, 8:24] = 4
    inside = reference.clone()
    inside[:, :, 8:16, 8:24] = 1.0
    held = (~module.regions({**batch, "mask": labels}, chosen))[:, None]
    assert mean_change(inside, reference, held) == 0
    outside = reference.clone()
    outside[:, :, :8] = 0.5  # a quarter of the image, of which 7/8 are held
    assert math.isclose(mean_change(outside, reference, held), 0.5 * 0.25 / 0.875, rel_tol=1e-5)


@pytest.fixture
def twins(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with a twin of each face that wears glasses."""
    wearing = [{**labels, "Eyeglasses": True} for labels in batch["attributes"]]
    return {
        **batch,
        "twin": batch["image"].roll(3, dims=2),
        "twin_caption": ["a photo of a man, wearing glasses", "a photo of a woman, wearing glasses"],
        "twin_attributes": wearing,
    }


def parts_by_step(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], **options: Any
) -> list[set[str]]:
    """Return what the loss consists of in each of six training steps."""
    seen: list[set[str]] = []

    class Watched(DirectionModule):
        def losses(self, batch: dict[str, Any], generator: torch.Generator) -> Losses | None:
            found = super().losses(batch, generator)
            assert found is not None
            seen.append(set(found.values))
            return found

    tuning = Tuning(export=False)
    module = Watched(backbone, encoder, categories=["glasses"], noisy_input=QUICK, tuning=tuning, **options)
    trainer = Trainer(
        max_steps=6,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(Batches([batch] * 6), batch_size=None))
    return seen


def test_most_training_steps_have_the_loss_on_pairs_alone(
    backbone: Backbone, encoder: nn.Module, twins: dict[str, Any]
) -> None:
    paired = Pairs(identity=None, steps_between=2)
    seen = parts_by_step(backbone, encoder, twins, paired=paired)
    alone = {"loss", "pairs_changed", "pairs_outside"}
    both = alone | {"content", "direction"}
    assert seen == [both, alone, alone] * 2


def test_pairs_with_gradient_checkpointing_are_refused(backbone: Backbone, encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="without ε1's features; set tuning"):
        build(backbone, encoder, paired=Pairs(), tuning=Tuning(gradient_checkpointing=True))


def test_the_loss_on_pairs_is_added_with_its_weight(
    backbone: Backbone, encoder: nn.Module, twins: dict[str, Any]
) -> None:
    module = build(backbone, encoder, paired=Pairs(weight=0.5, identity=None))
    assert module.paired is not None
    with torch.no_grad():
        found = module.losses(twins, seeded(4))
        terms = module.paired.on_twins(module.unet, twins, module.categories, seeded(4))
    assert found is not None
    own = 0.3 * found.values["content"] + 0.7 * found.values["direction"]
    torch.testing.assert_close(found.values["loss"], own + 0.5 * terms.total)
    torch.testing.assert_close(found.values["pairs_changed"], terms.changed)


def test_without_twins_there_is_eq_6_alone(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any]
) -> None:
    plain, paired = build(backbone, encoder), build(backbone, encoder, paired=Pairs(identity=None))
    first, second = (module.losses(batch, seeded()) for module in (plain, paired))
    assert first is not None
    assert second is not None
    assert first.values.keys() == second.values.keys()
    torch.testing.assert_close(first.values["loss"], second.values["loss"])


def test_twins_are_edited_as_their_categories_are(
    backbone: Backbone, encoder: nn.Module, twins: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Glasses reshape, so ε1's keys and values hold; a twin with no edit has the backbone's own settings."""
    twins["twin_attributes"][1] = twins["attributes"][1]
    module = build(backbone, encoder, paired=Pairs(identity=None))
    assert module.paired is not None
    asked: list[Any] = []
    monkeypatch.setattr(PairsLoss, "__call__", lambda _, unet, edited, generator: asked.append(edited))
    module.paired.on_twins(module.unet, twins, module.categories, seeded())
    (edited,) = asked
    glasses = EditSettings().for_categories(edits.select(["glasses"]))
    assert edited.settings == [glasses, EditSettings()]
    assert glasses.injection.mode == "kv"
    torch.testing.assert_close(edited.after, backbone.encode_images(twins["twin"]))


def test_the_export_is_edited_with_the_guidance_that_it_learned(
    backbone: Backbone, encoder: nn.Module, tmp_path: Path
) -> None:
    build(backbone, encoder, guidance_scale=1.5).export(tmp_path / "guided")
    build(backbone, encoder).export(tmp_path / "plain")
    assert defaults_of(None, tmp_path / "guided") == EditSettings(guidance_scale=1.5)
    assert defaults_of(None, tmp_path / "plain") == EditSettings()


def test_most_training_steps_have_the_regional_loss_alone(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any]
) -> None:
    seen = parts_by_step(backbone, encoder, batch, regional=Regional(steps_between=2))
    alone = {"loss", "regional_outside", "regional_inside"}
    both = alone | {"content", "direction"}
    assert seen == [both, alone, alone] * 2


def test_evaluators_score_validation_only(
    backbone: Backbone,
    encoder: nn.Module,
    recognizer: nn.Module,
    classifier: nn.Module,
    batch: dict[str, Any],
) -> None:
    judges = Judges({"other": recognizer}, classifier)  # type: ignore[arg-type]
    module = build(backbone, encoder, evaluators=judges)
    in_training = module.losses(batch, seeded())
    assert in_training is not None
    assert not {"edit_success", "distance_other"} & in_training.values.keys()
    with torch.no_grad():
        in_validation = module.losses(batch, seeded())
    assert in_validation is not None
    assert in_validation.values["edit_success"] == 1.0
    assert 0 <= in_validation.values["distance_other"] <= 2


def test_a_batch_without_any_edit_is_skipped(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    done = {**batch, "attributes": [{"Eyeglasses": True}, {"Eyeglasses": True}]}
    module = build(backbone, encoder, tuning=Tuning(lora=Lora(rank=2)))
    assert module.losses(done, seeded()) is None
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        module,
        DataLoader(Batches([done, batch]), batch_size=None),
        DataLoader(Batches([done, batch]), batch_size=None),
    )
    assert trainer.global_step == 2
    assert module.losses_by_image is not None
    assert len(module.losses_by_image.timesteps) == len(module.losses_by_image.losses)
    assert {"train/loss", "val/loss", "val/direction"} <= set(trainer.callback_metrics)
    assert (tmp_path / "export" / "adapter_model.safetensors").is_file()


def test_unknown_category_is_refused(backbone: Backbone, encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="glases"):
        build(backbone, encoder, categories=["glases"])


def test_no_steps_are_refused(backbone: Backbone, encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="not 6 and 0"):
        build(backbone, encoder, gradient_steps=0)


def test_crops_change_the_loss_and_stay_seeded(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any]
) -> None:
    losses = []
    for crops in (0, 2, 2):
        torch.manual_seed(0)
        module = build(backbone, encoder, crops=crops)
        found = module.losses(batch, seeded(1))
        assert found is not None
        losses.append(float(found.values["loss"].detach()))
    assert losses[1] == losses[2]
    assert losses[0] != losses[1]


class HeldOut:
    """Data with held-out pictures and their labels."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def labels(self) -> set[str]:
        return {"Eyeglasses", "Sunglasses", "Smiling", "Male", "Young"}

    def held_out(self) -> Iterator[dict[str, Any]]:
        return iter(self.batches)


def test_held_out_pictures_that_nothing_can_edit_are_refused_before_training(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any]
) -> None:
    """There would be no loss to choose checkpoints by."""
    module = build(backbone, encoder)
    one = take_rows(batch, [0])
    wearing = {**one, "attributes": [{**one["attributes"][0], "Eyeglasses": True}]}
    module.trainer = Trainer(accelerator="cpu", logger=False, limit_val_batches=4)
    module.trainer.datamodule = HeldOut([wearing, wearing])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="none of 2 held-out pictures can be edited by glasses"):
        module.setup("fit")
    module.trainer.datamodule = HeldOut([wearing, one])  # type: ignore[attr-defined]
    module.setup("fit")
    module.trainer.datamodule = HeldOut([])  # type: ignore[attr-defined]
    module.setup("fit")
    module.trainer.datamodule = HeldOut([wearing])  # type: ignore[attr-defined]
    module.trainer.limit_val_batches = 0
    module.setup("fit")
