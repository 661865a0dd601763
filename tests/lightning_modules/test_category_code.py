"""What categories bring to the training of ε2: labels, words, masks, negative prompts and losses."""

import dataclasses
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from keyface.cli.main import main
from keyface.datamodules.shard_files.catalogue import serves
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.lightning_modules.caption_words import CaptionWords
from keyface.lightning_modules.direction import DirectionModule, category_loss
from keyface.lightning_modules.objectives.targets import choose_categories, draw_edits, known_labels
from keyface.lightning_modules.sampling import NoisyInput
from keyface.plugins import Category, EditError, edits

QUICK = NoisyInput(source="inverted", steps=2)
SPOTS = Category(
    "spots",
    targets=("wearing glasses",),
    source="without glasses",
    attribute="Spots",
    own_labels=("Spots",),
    judge=lambda images: (images.mean(dim=(1, 2, 3)) > 0).float(),
)


@pytest.fixture
def spots() -> Iterator[Category]:
    """A category of code, known to the program for one test."""
    with edits.with_file(None):
        edits._categories = dict(edits._categories)
        yield edits.add(SPOTS)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def installed(category: Category) -> Category:
    """Put another category in the place of `spots`."""
    edits._categories["spots"] = category
    return category


def test_a_judge_gives_the_labels_that_data_lack(batch: dict[str, Any]) -> None:
    batch["image"] = torch.stack([torch.full((3, 32, 32), -0.5), torch.full((3, 32, 32), 0.5)])
    labels = known_labels(batch, [SPOTS])
    assert [each["Spots"] for each in labels] == [False, True]
    assert [edit.row for edit in draw_edits(batch, [SPOTS], seeded())] == [0], "the bright one has spots"
    batch["attributes"] = [{**each, "Spots": True} for each in batch["attributes"]]
    assert draw_edits(batch, [SPOTS], seeded()) == [], "what the data say counts"
    absent = dataclasses.replace(SPOTS, present=False)
    batch["attributes"] = [{}, {}]
    # Its judge says whether a face looks as after the edit: without spots.
    assert [each["Spots"] for each in known_labels(batch, [absent])] == [True, False]


def test_half_sure_is_seen(batch: dict[str, Any]) -> None:
    doubtful = dataclasses.replace(SPOTS, judge=lambda images: torch.tensor([0.5, 0.49]))
    assert [each["Spots"] for each in known_labels(batch, [doubtful])] == [True, False]


def test_samples_are_kept_for_a_judge_to_look_at() -> None:
    known = dataclasses.replace(SPOTS, judge=None)
    assert serves({"Male": True}, (SPOTS,))
    assert not serves({"Male": True}, (known,))


def test_a_term_of_a_category_is_added_with_its_weight(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], spots: Category
) -> None:
    """Compared with the run without it: same draws, and a term that is 3 for each image of the category."""
    batch["image"] = batch["image"].abs().neg()  # dark, so without spots
    installed(dataclasses.replace(spots, loss=lambda edited, source: edited.new_full((len(edited),), 3.0)))
    totals = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        module = DirectionModule(
            backbone, encoder, categories=["spots"], noisy_input=QUICK, category_weight=weight
        )
        with torch.no_grad():
            found = module.losses(batch, seeded())
        assert found is not None
        totals[weight] = float(found.values["loss"])
        assert ("category" in found.values) == (weight > 0)
    assert totals[0.5] - totals[0.0] == pytest.approx(1.5, rel=1e-4)


def test_a_term_counts_for_the_images_of_its_category_alone(batch: dict[str, Any]) -> None:
    batch["image"] = -batch["image"].abs()
    own = dataclasses.replace(SPOTS, loss=lambda edited, source: (edited - source).mean(dim=(1, 2, 3)))
    chosen = draw_edits(batch, [own], seeded())
    other = [chosen[0], dataclasses.replace(chosen[1], category=edits["glasses"])]
    source = torch.zeros(2, 3, 4, 4)
    edited = torch.stack([torch.full((3, 4, 4), 0.25), torch.full((3, 4, 4), 0.75)])
    assert float(category_loss(edited, source, chosen)) == pytest.approx(0.5)
    assert float(category_loss(edited, source, other)) == pytest.approx(0.125)
    other = [dataclasses.replace(chosen[0], category=edits["glasses"]), chosen[1]]
    assert float(category_loss(edited, source, other)) == pytest.approx(0.375)
    wrong = dataclasses.replace(SPOTS, loss=lambda edited, source: edited.mean())
    with pytest.raises(ValueError, match=r"'spots': its loss gave \(\) for 1 images"):
        category_loss(edited, source, [dataclasses.replace(chosen[0], category=wrong)])


def test_guidance_moves_away_from_the_negative_phrase(
    backbone: Backbone,
    encoder: nn.Module,
    batch: dict[str, Any],
    spots: Category,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch["image"] = -batch["image"].abs()
    installed(dataclasses.replace(spots, negative="smiling"))
    module = DirectionModule(backbone, encoder, categories=["spots"], noisy_input=QUICK, guidance_scale=3.0)
    texts = module._encode(draw_edits(batch, module.categories, seeded()))
    captions = [f"{caption}, smiling" for caption in batch["caption"]]
    with torch.no_grad():
        assert torch.equal(texts.negative, backbone.encode_prompts(captions))
        assert torch.equal(texts.source, backbone.encode_prompts(batch["caption"]))
    used: list[Tensor] = []
    of = Guidance.of
    monkeypatch.setattr(
        Guidance, "of", lambda target, negative, scale: used.append(negative) or of(target, negative, scale)
    )
    with torch.no_grad():
        module.losses(batch, seeded())
    assert torch.equal(used[0], texts.negative)


def test_a_mask_takes_the_place_of_regions(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], spots: Category
) -> None:
    batch["image"] = -batch["image"].abs()

    def upper(images: Tensor, regions: Any) -> Tensor:
        mask = regions(("l_eye",)).clone()
        mask[..., 12:, :] = 0
        return mask

    installed(dataclasses.replace(spots, regions=("hair",), mask=upper))
    module = DirectionModule(backbone, encoder, categories=["spots"], noisy_input=QUICK, locality_margin=0.0)
    free = module.regions(batch, draw_edits(batch, module.categories, seeded()))
    expected = torch.zeros(2, 32, 32, dtype=torch.bool)
    expected[:, 8:12, 8:24] = True  # the batch's block of l_eye, cut off by the mask
    assert torch.equal(free, expected)


def test_unknown_words_are_warned_of(backbone: Backbone, encoder: nn.Module) -> None:
    with pytest.warns(UserWarning, match="edit 'hat': the text encoder does not know a?.*hat"):
        DirectionModule(backbone, encoder, categories=["hat"], noisy_input=QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DirectionModule(backbone, encoder, categories=["glasses"], noisy_input=QUICK)


def test_unknown_words_of_captions_are_warned_of_once(backbone: Backbone) -> None:
    words = CaptionWords(backbone.tokenizer, most=2)
    known = "a photo of a man, smiling"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words.look([known, known])
    with pytest.warns(UserWarning, match="captions of the data: .* does not know zebra, parasol; it reads"):
        words.look([known, "a Zebra with a parasol", "a zebra"])
    with pytest.warns(UserWarning, match="does not know umbrella; .*; further words are not told of"):
        words.look(["a photo of a umbrella, a zebra"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words.look(["a giraffe"])


def test_training_looks_at_the_captions_of_its_batches(
    backbone: Backbone, encoder: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    module = DirectionModule(backbone, encoder, categories=["glasses"], noisy_input=QUICK)
    batch["caption"] = [f"{batch['caption'][0]} beside a zebra", *batch["caption"][1:]]
    trainer = Trainer(
        max_steps=1,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(module, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    (told,) = [str(each.message) for each in said if "captions of the data" in str(each.message)]
    assert re.search("the text encoder does not know .*zebra", told)


def test_installed_edits_without_words_are_left_out(backbone: Backbone) -> None:
    chosen = [each.name for each in choose_categories(None, {"the text encoder": backbone.tokenizer})]
    # "smiling" is known, "sad" is not; one phrase that can be told is enough.
    assert chosen == ["glasses", "man", "no-glasses", "smile", "woman"]
    from keyface.miniature import zoo

    everything = choose_categories(None, {"the text encoder": zoo.backbone().tokenizer})
    assert {each.name for each in edits} - {each.name for each in everything} == {"freckles"}


@pytest.mark.filterwarnings("ignore")
def test_a_yaml_file_serves_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same word as in `keyface edit`; model and data name its edits, and the program forgets them."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "half-smile: {targets: [smiling], source: not smiling, attribute: Smiling, regions: [mouth]}\n"
    )
    assert main(["shards", "render", "-o", "shards", "--count", "12", "--samples-per-shard", "12"]) == 0
    quick = (
        "--trainer.max_steps=1 --trainer.limit_val_batches=0 --trainer.callbacks=null "
        "--trainer.accelerator=cpu --trainer.enable_checkpointing=false "
        "--trainer.enable_progress_bar=false --data.init_args.shards=shards "
        "--data.init_args.batch_size=2 --data.init_args.workers=0 --model.init_args.tuning.export=false"
    )
    names = ["--model.init_args.categories=[half-smile]", "--data.init_args.categories=[half-smile]"]
    words = ["fit", "-c", "miniature/direction.yaml", *quick.split(), *names]
    assert main(words) == 1, "nobody knows half-smile"
    assert main([*words, "--categories", "mine.yaml"]) == 0
    (config,) = Path("runs").rglob("config.yaml")
    assert "categories: mine.yaml" in config.read_text()
    assert "half-smile" not in edits


def test_the_edits_of_a_file_are_there_inside_the_block(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("half-smile: {targets: [smiling], source: not smiling, attribute: Smiling}\n")
    with edits.with_file(path):
        assert edits["half-smile"].targets == ("smiling",)
        assert edits.origin("half-smile") == str(path)
    assert "half-smile" not in edits


def test_a_wrong_yaml_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("half-smile: {targets: [], source: x, attribute: Smiling}\n")
    with pytest.raises(EditError, match="targets needs at least one phrase"), edits.with_file(path):
        pass
    assert "glasses" in edits
