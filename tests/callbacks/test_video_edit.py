import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from wandb_file import offline_runs

from keyface.callbacks.clips import Example, face_frames, miniature_examples, picture_examples
from keyface.callbacks.video_edit import COLUMNS, VideoEditCallback
from keyface.commands.data.shards import render
from keyface.datamodules.shards import ShardsDataModule
from keyface.diffusion.backbone import Backbone
from keyface.editing.editor import VideoEditor
from keyface.editing.settings import Composition, EditSettings, Injection, Prompts
from keyface.metrics.temporal import temporal_loss
from keyface.miniature import zoo
from keyface.miniature.population import world
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering import renderer
from keyface.models.finders import find_suite
from keyface.plugins import edits
from keyface.video import VideoReader, write_clip

pytestmark = [
    # Lightning 2.6 asks torch 2.15's pytrees a deprecated question
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # the frozen networks are to be in evaluation mode
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training.*"),
]
FAST = EditSettings(steps=2, interval=2, guidance_scale=2.0, composition=Composition(mode="off"))
"""Of random networks the decoded edit can be measured; composition would leave most of the clip."""


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(dim=-1, keepdim=True).sqrt()


class MeanColour(nn.Module):
    """A recognizer whose embedding is the picture's mean colour, beside a constant."""

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        colour = images.mean(dim=(2, 3)) + 2
        return nn.functional.normalize(colour, dim=-1)


class LengthAndColour(nn.Module):
    """An image-text pair of sorts."""

    def encode_image(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(images.mean(dim=(2, 3)) + 2, dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        return nn.functional.normalize(torch.tensor([[1.0, len(text), 3.0] for text in texts]), dim=-1)


class LettersAndColour(LengthAndColour):
    """Tells "with" and "wearing" from "without", which may be as long."""

    def encode_text(self, texts: list[str]) -> Tensor:
        return unit(torch.tensor([[2.0, text.count("e"), text.count("t")] for text in texts]))


class TinyBranch(LightningModule):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.unet = backbone.unet
        self.parameter = nn.Parameter(torch.zeros(()))

    def whole_unet(self) -> UNet2DConditionModel:
        unet: UNet2DConditionModel = self.unet
        return unet

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.parameter - batch[0].mean()) ** 2

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.parameter.detach())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.parameter], lr=0.1)


class OnPictures(TinyBranch):
    """Trained on batches of the shards."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step([batch["image"]], batch_idx)


def callback(**options: Any) -> VideoEditCallback:
    defaults: dict[str, Any] = {
        "branch": "direction",
        "edits": ["glasses"],
        "frames": 4,
        "settings": FAST,
        "recognizers": {"colour": MeanColour()},
        "image_text": LengthAndColour(),
        "at_start": False,
    }
    return VideoEditCallback(**(defaults | options))


def fit(
    module: LightningModule,
    added: VideoEditCallback,
    folder: Path,
    epochs: int = 2,
    loggers: Sequence[Logger] = (),
) -> Trainer:
    data: DataLoader[Any] = DataLoader(TensorDataset(torch.ones(2, 1)))
    trainer = Trainer(
        max_epochs=epochs,
        logger=[CSVLogger(folder / "run", name="", version=""), *loggers],
        callbacks=[added],
        accelerator="cpu",
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, data)
    return trainer


def test_edits_at_validation_and_leaves_files_and_curves(tiny_backbone: Backbone, tmp_path: Path) -> None:
    fit(TinyBranch(tiny_backbone), callback(at_start=True), tmp_path)
    assert sorted(path.name for path in (tmp_path / "run" / "edits").iterdir()) == [
        "step-000000",
        "step-000002",
        "step-000004",
    ]
    folder = tmp_path / "run" / "edits" / "step-000004"
    assert (folder / "sheet.png").stat().st_size > 0
    (video,) = folder.glob("glasses-*.mp4")
    reader = VideoReader(video)
    assert (len(reader), reader.height, reader.width) == (4, 32, 64)
    (record,) = json.loads((folder / "edits.json").read_text())
    assert record["name"] == video.stem
    assert record["categories"] == ["glasses"]
    assert "without glasses" in record["source"]
    assert "without glasses" not in record["target"]
    assert (record["frames"], record["fps"]) == (4, reader.fps)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["edit/identity_distance"]]
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    for row in rows:
        assert 0 <= float(row["edit/identity_distance"]) <= 2
        assert row["edit/identity_distance"] == row["edit/identity_distance/colour"]
        assert -1 <= float(row["edit/direction_similarity"]) <= 1
        assert float(row["edit/temporal_loss"]) > 0
        assert float(row["edit/reconstruction_psnr"]) > 0
        for name in ("identity_distance", "temporal_loss", "outside_change", "edit_success"):
            assert row[f"edit/{name}/glasses"] == row[f"edit/{name}"], "one category's mean is that of all"


def test_curves_are_measures_of_the_edited_clip_against_its_source(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    """The clip edited once more, outside the callback, and measured by formula."""
    module = TinyBranch(tiny_backbone)
    torch.manual_seed(3)
    module.unet = type(tiny_backbone.unet).from_config(tiny_backbone.unet.config).eval()
    fit(module, callback(image_text=LettersAndColour()), tmp_path, epochs=1)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["edit/identity_distance"]]

    (example,) = miniature_examples([edits["glasses"]], clips=1, frames=4, size=32, seed=0)
    editor = VideoEditor(tiny_backbone, direction=module.unet, settings=FAST)
    edited, report = editor.edit_frames(example.frames, example.prompts)
    colours = [unit(each.mean(dim=(2, 3)) + 2) for each in (edited, example.frames)]
    clips = [unit(each.mean(dim=0)) for each in colours]
    distance = 1 - float(clips[0] @ clips[1])
    assert distance > 1e-3
    assert float(row["edit/identity_distance/colour"]) == pytest.approx(distance, rel=1e-2)
    texts = LettersAndColour().encode_text([example.prompts.target, example.prompts.source])
    cosines = unit(colours[0] - colours[1]) @ unit(texts[0] - texts[1])
    assert abs(float(cosines.mean())) > 0.05
    assert float(row["edit/direction_similarity"]) == pytest.approx(float(cosines.mean()), abs=1e-3)
    assert example.flow is not None
    assert example.region is not None
    outside = ~example.region[:, None].expand(-1, 3, -1, -1)
    changed = float((edited.clamp(-1, 1) - example.frames)[outside].abs().mean()) / 2
    assert float(row["edit/outside_change"]) == pytest.approx(changed, rel=1e-3)
    flicker = float(temporal_loss(edited, example.flow, example.valid))
    assert float(row["edit/temporal_loss"]) == pytest.approx(flicker, rel=1e-3)
    assert float(row["edit/reconstruction_psnr"]) == pytest.approx(report.reconstruction_psnr, rel=1e-3)

    (path,) = (tmp_path / "run" / "edits" / "step-000002").glob("*.mp4")
    shown = next(VideoReader(path).chunks(4))
    halves = [shown[..., :32], shown[..., 32:]]
    for half, clip, other in zip(
        halves, (example.frames, edited), (edited, example.frames), strict=True
    ):  # colours are subsampled and compressed in the file
        assert (half - clip).abs().mean() < 0.4 * (half - other).abs().mean()


def test_edit_success_is_that_of_the_categories_own_judges(tiny_backbone: Backbone, tmp_path: Path) -> None:
    """In all loggers' curves; of the glasses the miniature's classifier tells, since the clip is rendered."""
    judged = replace(edits["glasses"], name="judged", judge=lambda images: torch.full((len(images),), 0.625))
    with edits.with_file(None):
        edits._categories = {**edits._categories, "judged": judged}
        fit(TinyBranch(tiny_backbone), callback(edits=["judged", "glasses"]), tmp_path, epochs=1)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["edit/identity_distance"]]
    by_category = [float(row[f"edit/edit_success/{name}"]) for name in ("judged", "glasses")]
    assert by_category[0] == 0.625
    assert by_category[1] in [frames / 4 for frames in range(5)]
    assert float(row["edit/edit_success"]) == pytest.approx(sum(by_category) / 2)


def test_footage_is_not_judged_by_the_miniature(tiny_backbone: Backbone, tmp_path: Path) -> None:
    source = tmp_path / "mine.mp4"
    write_clip(source, torch.rand(6, 3, 40, 48) * 2 - 1, 10)
    added = callback(clips=[str(source)], captions=["a man, without glasses"], finder="centre")
    fit(TinyBranch(tiny_backbone), added, tmp_path, epochs=1)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert "edit/edit_success" not in next(csv.reader(file))


def test_the_trained_branch_takes_its_place(tiny_backbone: Backbone) -> None:
    module = TinyBranch(tiny_backbone)
    module.unet = type(tiny_backbone.unet).from_config(tiny_backbone.unet.config)
    as_direction = callback(branch="direction")._pipeline(tiny_backbone, module.unet).editor()
    assert as_direction.direction is module.unet
    assert as_direction.identity is tiny_backbone.unet
    as_identity = callback(branch="identity")._pipeline(tiny_backbone, module.unet).editor()
    assert as_identity.identity is module.unet
    assert as_identity.direction is tiny_backbone.unet


def test_settings_are_the_weights_then_the_categories_then_the_given_ones(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    (tmp_path / "edit.yaml").write_text("strength: 0.5\nguidance_scale: 4\ninjection: {until: 0.8}\n")
    tiny_backbone.source = tmp_path
    added = callback(settings={"steps": 3, "injection": {"until": 0.1}}, edits=["beard"])
    category = replace(
        edits["beard"], strength=0.6, guidance=0.5, threshold=0.5, injection=0.5, reshapes=True
    )
    example = Example("beard", torch.zeros(1, 3, 8, 8), Prompts("a", "b"), [category], 10)
    pipe = added._pipeline(tiny_backbone, tiny_backbone.unet)
    found = added._settings_for(example, pipe)
    assert found == EditSettings(
        steps=3,
        strength=0.3,
        guidance_scale=2.0,
        injection=Injection(mode="kv", until=0.1),
        composition=Composition(low=0.03, high=0.05, replaced=0.3),
    )
    assert callback(settings=FAST)._settings_for(example, pipe) == FAST
    with pytest.raises(ValueError, match="VideoEditCallback: settings: unknown name 'stepz'"):
        callback(settings={"stepz": 3})


def test_the_other_branch_from_a_folder(tiny_backbone: Backbone, tmp_path: Path) -> None:
    tiny_backbone.unet.save_pretrained(tmp_path)
    editor = (
        callback(branch="identity", other=str(tmp_path))._pipeline(tiny_backbone, tiny_backbone.unet).editor()
    )
    assert editor.direction is not tiny_backbone.unet
    for name, value in editor.direction.state_dict().items():
        assert torch.equal(value, tiny_backbone.unet.state_dict()[name])


def test_videos_of_ones_own(tiny_backbone: Backbone, tmp_path: Path) -> None:
    source = tmp_path / "mine.mp4"
    write_clip(source, torch.rand(6, 3, 40, 48) * 2 - 1, 10)
    fit(
        TinyBranch(tiny_backbone),
        callback(clips=[str(source)], captions=["a man, without glasses"], finder="centre", every_n_steps=3),
        tmp_path,
    )
    # every_n_steps=3: the validation after 2 steps is too early, the one after 4 is not
    assert [path.name for path in (tmp_path / "run" / "edits").iterdir()] == ["step-000004"]
    reader = VideoReader(tmp_path / "run" / "edits" / "step-000004" / "glasses-mine.mp4")
    assert (len(reader), reader.height, reader.width, float(reader.fps)) == (4, 32, 64, 10.0)


def test_the_interval_survives_a_resume() -> None:
    before, after = callback(every_n_steps=10), callback(every_n_steps=10)
    before._last_step = 40
    after.load_state_dict(before.state_dict())
    assert after._last_step == 40


def test_what_cannot_work_is_said_before_training(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="branch is 'both'"):
        callback(branch="both")
    with pytest.raises(ValueError, match="2 clips need as many captions, got 1"):
        callback(clips=["a.mp4", "b.mp4"], captions=["one"])
    with pytest.raises(ValueError, match=r"unknown edit 'glases'.*glasses"):
        fit(TinyBranch(tiny_backbone), callback(edits=["glases"]), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no clip at .*none\.mp4"):
        fit(TinyBranch(tiny_backbone), callback(clips=[str(tmp_path / "none.mp4")], captions=["a"]), tmp_path)
    with pytest.raises(ValueError, match="give their captions, one each, or a captioner: blip2"):
        callback(clips=["a.mp4"])
    from lightning.pytorch.demos.boring_classes import BoringModel

    with pytest.raises(TypeError, match="BoringModel has no `backbone`"):
        fit(BoringModel(), callback(), tmp_path)


def test_nobody_of_the_miniature_looks_at_videos_in_silence(tiny_backbone: Backbone, tmp_path: Path) -> None:
    grey = tmp_path / "grey.mp4"
    write_clip(grey, torch.zeros(6, 3, 96, 160), 10)
    video = {"clips": [str(grey)], "captions": ["a man"]}
    with pytest.raises(ValueError, match=r"say who judges .*\[cosface, facenet\].*or \[miniature\]"):
        fit(TinyBranch(tiny_backbone), callback(**video, recognizers=None), tmp_path)
    with pytest.raises(FileNotFoundError, match="cosface"):
        fit(TinyBranch(tiny_backbone), callback(**video, recognizers=["cosface"]), tmp_path)
    with pytest.raises(FileNotFoundError, match="keyface weights get"):
        fit(TinyBranch(tiny_backbone), callback(**video), tmp_path)
    with pytest.raises(ValueError, match="no face in its 6 frames"):
        fit(TinyBranch(tiny_backbone), callback(**video, finder="miniature"), tmp_path)


def test_held_out_pictures_of_the_data_are_edited(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People to whom the edit applies, with the data's captions and label maps, all known of the motion."""
    render(tmp_path / "shards", count=40, size=32, samples_per_shard=20)
    data = ShardsDataModule(tmp_path / "shards", batch_size=4, val_fraction=0.5)
    added = callback(pictures=2, edits=["glasses", "smile"], at_start=True)
    trainer = Trainer(
        max_steps=1,
        limit_val_batches=0,
        log_every_n_steps=1,
        logger=CSVLogger(tmp_path / "run", name="", version=""),
        callbacks=[added],
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(OnPictures(tiny_backbone), datamodule=data)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["edit/identity_distance"]]
    for name in ("temporal_loss", "outside_change", "identity_distance"):
        assert float(row[f"edit/{name}/smile"]) > 0
    assert "edit/edit_success" not in row, "pictures are not judged by the miniature's classifier"
    assert len(list((tmp_path / "run" / "edits" / "step-000000").glob("*.mp4"))) == 4
    held_out = {sample["key"][0]: sample for sample in data.held_out()}
    trained = {key for batch in data.train_dataloader() for key in batch["key"]}
    assert added._examples is not None
    assert [example.categories[0].name for example in added._examples] == ["glasses"] * 2 + ["smile"] * 2
    for example in added._examples:
        name, key = example.name.split("-", 1)
        assert key not in trained
        sample, label = held_out[key], {"glasses": "Eyeglasses", "smile": "Smiling"}[name]
        assert not sample["attributes"][0][label]
        assert example.prompts.source == sample["caption"][0]
        assert example.frames.shape == (4, 3, 32, 32)
        assert example.region is not None
        assert 0 < float(example.region.float().mean()) < 0.9
    with pytest.raises(ValueError, match=r"fewer than 99 held-out pictures of the data can take glasses"):
        picture_examples([edits["glasses"]], data.held_out(), 99, 4)


def test_pictures_and_clips_that_cannot_be_are_refused(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pictures is 1, it must be 0 or more, and 0 with videos"):
        callback(pictures=1, clips=["a.mp4"], captions=["a"])
    with pytest.raises(ValueError, match="pictures needs data that hold some out: ShardsDataModule"):
        fit(TinyBranch(tiny_backbone), callback(pictures=1), tmp_path)
    render(tmp_path / "shards", count=8, size=32, samples_per_shard=4)
    data = ShardsDataModule(tmp_path / "shards", batch_size=2, val_fraction=0.5)
    trainer = Trainer(
        max_steps=0, logger=False, callbacks=[callback(pictures=1, recognizers=None)], accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"its clips are pictures, so say who judges .*\[cosface, facenet\]"):
        trainer.fit(TinyBranch(tiny_backbone), datamodule=data)
    tiny_backbone.unet.register_to_config(cross_attention_dim=1024)  # the width of Stable Diffusion 2's text
    with pytest.raises(
        ValueError, match="rendered faces, which Stable Diffusion does not know; say pictures: 1"
    ):
        fit(TinyBranch(tiny_backbone), callback(), tmp_path)


def test_the_face_of_a_video_is_cut_out(tmp_path: Path) -> None:
    """At the right edge of a wide frame, and not its middle."""
    face = renderer.render_images(world.draw_faces(torch.tensor([world.HELD_OUT + 33]), 0), 128)
    frame = torch.zeros(1, 3, 160, 420)
    frame[..., 16:144, 284:412] = face
    write_clip(tmp_path / "wide.mp4", frame.expand(6, -1, -1, -1), 10)
    frames = face_frames(VideoReader(tmp_path / "wide.mp4"), 4, 128, find_suite("miniature"), zoo.PLACEMENT)
    assert frames.shape == (4, 3, 128, 128)
    # Found landmarks are a few pixels off: compare coarsely, and with the middle of the frame.
    coarse = [torch.nn.functional.avg_pool2d(each, 16) for each in (frames[:1], face)]
    assert float((coarse[0] - coarse[1]).abs().mean()) < 0.15
    assert float((coarse[1]).abs().mean()) > 0.2, "grey would not pass"


def test_a_captioner_is_asked_where_captions_are_missing(tiny_backbone: Backbone, tmp_path: Path) -> None:
    person = draw_clip(world.HELD_OUT + 33, 0, 4)
    write_clip(tmp_path / "rendered.mp4", renderer.render_images(person, 128), 10)
    added = callback(
        clips=[str(tmp_path / "rendered.mp4")],
        captioner="miniature",
        finder="miniature",
        recognizers=["miniature"],
        image_text=None,
    )
    trainer = fit(TinyBranch(tiny_backbone), added, tmp_path, epochs=1)
    assert added._examples is not None
    assert added._examples[0].prompts.source.startswith("a photo of")
    assert 0 <= float(trainer.callback_metrics["edit/identity_distance"]) <= 2
    assert "edit/direction_similarity" not in trainer.callback_metrics


def test_wandb_has_curves_media_and_a_row_an_example_at_the_same_steps(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an alert of a fall of success: that of a judge who is satisfied at first alone."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    seen: list[int] = []

    def judge(images: Tensor) -> Tensor:
        seen.append(len(images))
        return torch.full((len(images),), 0.9 if len(seen) == 1 else 0.6)

    logger = WandbLogger(project="test", offline=True, save_dir=tmp_path, mode="offline")
    with edits.with_file(None):
        edits._categories = {
            **edits._categories,
            "judged": replace(edits["glasses"], name="judged", judge=judge),
        }
        fit(TinyBranch(tiny_backbone), callback(at_start=True, edits=["judged"]), tmp_path, loggers=[logger])
    logger.experiment.finish()
    (told,) = offline_runs(tmp_path)
    assert told.values("edit/edit_success/judged") == pytest.approx({0: 0.9, 2: 0.6, 4: 0.6})
    for key in ("edit/outside_change/judged", "edit/identity_distance/judged", "edit/temporal_loss/judged"):
        assert list(told.values(key)) == [0, 2, 4]
    for key in ("edit/videos", "edit/sheet", "edit/table"):
        assert list(told.values(key)) == [0, 2, 4], "media at the step of their curves"
    assert not any(name.startswith("edits/") for row in told.history for name in row)
    held = {entry.path: entry.local_path for each in told.artifacts for entry in each.manifest.contents}
    rows = []
    for path in [path for path in held if path.endswith("edit/table.table.json")]:
        content = json.loads(Path(held[path]).read_text())
        assert content["columns"] == list(COLUMNS)
        rows += [dict(zip(COLUMNS, row, strict=True)) for row in content["data"]]
    assert sorted(row["step"] for row in rows) == [0, 2, 4]
    for row in rows:
        assert row["source prompt"] != row["target prompt"]
        assert row["edit_success"] == pytest.approx(told.values("edit/edit_success")[row["step"]])
        for name, kind in (("source", "image-file"), ("edit", "image-file"), ("compare", "video-file")):
            assert row[name]["_type"] == kind
            assert Path(held[row[name]["path"]]).stat().st_size > 0, "the table's artifact has the media"
    assert [alert.title for alert in told.alerts] == ["Edit success fell"]
    assert "0.60 at step 2; it was 0.90" in told.alerts[0].text


def test_a_fall_is_measured_from_the_best_before_a_resume() -> None:
    before, after = callback(), callback()
    before._best_success = 0.75
    after.load_state_dict(before.state_dict())
    assert after._best_success == 0.75
