"""Edits the same clips at every validation, so that a run is watched and not only plotted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from keyface.callbacks.clip_networks import ClipNetworks, Recognizers
from keyface.callbacks.clips import Example, miniature_examples, video_examples
from keyface.callbacks.dashboard import GrowingTable, log_image, log_videos
from keyface.configuration import given
from keyface.diffusion.backbone import Backbone, load_unet
from keyface.editing.settings import EditSettings
from keyface.metrics.direction import direction_similarity
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.metrics.temporal import temporal_loss
from keyface.models.judges import edit_success
from keyface.models.protocols import AttributeClassifier
from keyface.pictures import draw_before_after, save_png
from keyface.pipeline.branches import branch_folder
from keyface.pipeline.companions import Companions
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins import edits as registry
from keyface.video import write_clip

Branch = Literal["identity", "direction"]


class EditingModule(Protocol):
    """A training module with whose network the callback can edit."""

    backbone: Backbone

    def whole_unet(self) -> UNet2DConditionModel | None:
        """Return the branch, averaged in validation; every process asks, and the first one edits with it."""


@dataclass(frozen=True)
class Result:
    """One edit of one clip and what was measured on it."""

    example: Example
    edited: Tensor
    measures: Mapping[str, float]


class VideoEditCallback(Callback):
    """Edits fixed clips at validation with the weights as they stand.

    The branch that is being trained takes its place in the editor; the other is the untuned base, the
    miniature's shipped one or a folder of yours. Writes into the run's folder
    `edits/step-<n>/<example>.mp4` (source on the left, edit on the right) and `edits/step-<n>/sheet.png`;
    logs the curves `edit/identity_distance`, `edit/direction_similarity`, `edit/reconstruction_psnr`,
    `edit/edit_success` by the categories' own judges and, on miniature clips, by the miniature's classifier,
    and there also `edit/temporal_loss` to every logger; videos, sheet and a growing table to W&B.

    Note:
        Only the first rank edits, while the others wait; a run on several GPUs wants few, short clips and a
        long interval. The curves exist on that rank only, so do not let a ModelCheckpoint monitor them there.
        Where the branch is spread over processes, all its weights must fit the first rank for the edit.

    Args:
        branch: Which branch the module trains: `identity` (ε1) or `direction` (ε2).
        edits: Names of edit categories; each is applied to each clip by itself.
        clips: How many clips to render of held-out miniature identities for each edit, or paths of videos.
        captions: Source caption of each video; without them `captioner` writes one.
        captioner: Name of a captioner, such as `blip2`; `miniature` for videos of rendered faces.
        finder: Name of what finds the faces of videos, such as `human`; `auto` takes what is here,
            `miniature` finds rendered faces, `centre` takes the middle of each frame.
        other: The other branch: None is the untuned base, `miniature` the shipped one, else the folder of an
            export, a run or an experiment.
        frames: Frames of each clip to edit.
        every_n_epochs: Edit at every n-th epoch's validation.
        every_n_steps: If given, edit at the first validation after every n steps, whatever the epoch.
        settings: Values of `EditSettings` that differ from the weights' defaults and from what the category
            asks for; whole settings are taken as they are. None is 20 steps.
        recognizers: Names of networks for the identity distance, as evaluators are named:
            `[cosface, facenet]`; or networks by name, (images, None) → (B, D). None is the miniature's for
            rendered clips, and refused for videos.
        image_text: Name of the CLIP pair for the direction similarity, such as `clip-vit-b-16`, or the pair.
            None is the miniature's for rendered clips, and leaves the measure out for videos.
        seed: Of the rendered clips.

    Example:
        >>> VideoEditCallback("identity", edits=["glasses"], clips=1, every_n_steps=500).every_n_steps
        500
    """

    def __init__(
        self,
        branch: Branch,
        edits: Sequence[str] = ("glasses", "beard"),
        clips: int | list[str] = 1,
        captions: list[str] | None = None,
        captioner: str | None = None,
        finder: str = "auto",
        other: str | None = None,
        frames: int = 16,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        settings: dict[str, Any] | EditSettings | None = None,
        recognizers: Recognizers = None,
        image_text: str | nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        if branch not in get_args(Branch):
            raise ValueError(f"VideoEditCallback: branch is {branch!r}, it must be identity or direction")
        for name, value in (("frames", frames), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise ValueError(f"VideoEditCallback: {name} is {value}, it must be at least 1")
        if isinstance(clips, list) and captions is not None and len(captions) != len(clips):
            raise ValueError(
                f"VideoEditCallback: {len(clips)} clips need as many captions, got {len(captions)}"
            )
        if isinstance(clips, list) and captions is None and captioner is None:
            raise ValueError(
                "VideoEditCallback: its clips are videos, so give their captions, one each, or a captioner: "
                "blip2, or miniature if the faces are rendered"
            )
        self.branch = branch
        self.edits = tuple(edits)
        self.clips = clips
        self.captions, self.captioner, self.finder = captions, captioner, finder
        self.other = other
        self.frames = frames
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.settings = {"steps": 20} if settings is None else settings
        if not isinstance(self.settings, EditSettings):
            given(EditSettings, self.settings, "VideoEditCallback: settings")
        self.recognizers = recognizers
        self.image_text = image_text
        self.seed = seed
        self._last_step = 0
        self._examples: list[Example] | None = None
        self._networks: ClipNetworks | None = None
        self._table = GrowingTable("edits/table", ("step", "edit", "measure", "value"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse, before hours of training, what would fail at the first validation."""
        for attribute in ("backbone", "whole_unet"):
            if not hasattr(pl_module, attribute):
                raise TypeError(
                    f"VideoEditCallback edits with a branch, IdentityModule or DirectionModule; "
                    f"{type(pl_module).__name__} has no `{attribute}`"
                )
        for name in self.edits:
            registry[name]
        for clip in self.clips if isinstance(self.clips, list) else []:
            if not Path(clip).is_file():
                raise FileNotFoundError(f"VideoEditCallback: no clip at {clip}")
        if trainer.is_global_zero:
            self._networks = self._find_networks()
            if isinstance(self.clips, list):
                self._examples = self._load(pl_module, pl_module.backbone)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last edit, for `every_n_steps` across a resume."""
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the interval where the checkpoint left it."""
        self._last_step = int(state_dict["last_step"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit, write and log, where it is time to."""
        if trainer.sanity_checking or not self._due(trainer):
            return
        self._last_step = trainer.global_step
        unet = cast(EditingModule, pl_module).whole_unet()
        # Lightning asks every process for this, too.
        run = Path(trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero:
            assert unet is not None
            results = self._edit_all(pl_module, unet.to(pl_module.device))
            self._write(trainer, run / "edits" / f"step-{trainer.global_step:06d}", results)
            for key, value in _means([result.measures for result in results]).items():
                pl_module.log(f"edit/{key}", value, rank_zero_only=True, sync_dist=False)
        trainer.strategy.barrier("VideoEditCallback")

    def _due(self, trainer: Trainer) -> bool:
        if trainer.state.fn == TrainerFn.VALIDATING:  # `lightning validate`, not the validation of a fit
            return True
        if self.every_n_steps is not None:
            return trainer.global_step - self._last_step >= self.every_n_steps
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0

    @torch.no_grad()
    def _edit_all(self, module: LightningModule, unet: UNet2DConditionModel) -> list[Result]:
        backbone = cast(EditingModule, module).backbone
        if self._examples is None:
            self._examples = self._load(module, backbone)
        pipe = self._pipeline(backbone, unet)
        results = []
        for example in self._examples:
            frames = example.frames.to(module.device)
            settings = self._settings_for(example, pipe)
            edited, report = pipe.edit_frames(frames, example.prompts, settings)
            edited = edited.clamp(-1, 1)
            measures = self._measure(example, frames, edited)
            measures["reconstruction_psnr"] = report.reconstruction_psnr
            results.append(Result(example, edited.cpu(), measures))
        return results

    def _load(self, module: LightningModule, backbone: Backbone) -> list[Example]:
        categories = [registry[name] for name in self.edits]
        if isinstance(self.clips, int):
            return miniature_examples(categories, self.clips, self.frames, backbone.image_size, self.seed)
        assert self._networks is not None
        placement = Companions.of(str(module.hparams.get("backbone"))).placement
        return video_examples(
            categories,
            [Path(clip) for clip in self.clips],
            self.captions,
            self.frames,
            backbone.image_size,
            self._networks,
            placement,
        )

    def _pipeline(self, backbone: Backbone, unet: UNet2DConditionModel) -> FaceEditPipeline:
        other = self._other_branch(backbone)
        identity, direction = (unet, other) if self.branch == "identity" else (other, unet)
        return FaceEditPipeline(backbone, identity, direction)

    def _settings_for(self, example: Example, pipe: FaceEditPipeline) -> EditSettings:
        if isinstance(self.settings, EditSettings):
            return self.settings
        return pipe.settings_for(example.categories).with_values(self.settings)

    def _other_branch(self, backbone: Backbone) -> UNet2DConditionModel | None:
        """Load the other branch anew each time: kept, it would hold memory through all of training."""
        if self.other is None:
            return None
        shipped = Companions.of(self.other)
        folder = shipped.direction if self.branch == "identity" else shipped.identity
        unet = load_unet(folder or branch_folder(Path(self.other)), backbone.unet)
        return unet.to(device=backbone.device, dtype=backbone.dtype)

    def _find_networks(self) -> ClipNetworks:
        if isinstance(self.clips, int):
            return ClipNetworks.of_rendered(self.recognizers, self.image_text)
        captioner = self.captioner if self.captions is None else None
        return ClipNetworks.of_videos(self.recognizers, self.image_text, captioner, self.finder)

    def _measure(self, example: Example, source: Tensor, edited: Tensor) -> dict[str, float]:
        assert self._networks is not None
        recognizers, pair = self._networks.recognizers, self._networks.image_text
        for judge in (*recognizers.values(), pair):
            if isinstance(judge, nn.Module):
                judge.to(source.device)
        measures = {}
        for name, recognizer in recognizers.items():
            distance = cosine_distance(embed_clip(recognizer, edited), embed_clip(recognizer, source))
            measures[f"identity_distance/{name}"] = float(distance)
        measures["identity_distance"] = sum(measures.values()) / max(len(measures), 1)
        if pair is not None:
            similarity = direction_similarity(
                pair.encode_image(edited),
                pair.encode_image(source),
                pair.encode_text([example.prompts.target]),
                pair.encode_text([example.prompts.source]),
            )
            measures["direction_similarity"] = float(similarity.mean())
        success = edit_success(_classifier(example), edited, *example.categories)
        if success is not None:
            measures["edit_success"] = success
        if example.flow is not None:
            measures["temporal_loss"] = float(temporal_loss(edited.cpu(), example.flow, example.valid))
        return measures

    def _write(self, trainer: Trainer, folder: Path, results: Sequence[Result]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        videos = {}
        for result in results:
            path = folder / f"{result.example.name}.mp4"
            both = torch.cat((result.example.frames, result.edited), dim=-1)
            write_clip(path, both, result.example.fps)
            videos[f"{result.example.name}: {result.example.prompts.target}"] = path
        shown = [(result.example.name, result.example.frames, result.edited) for result in results]
        picture = save_png(draw_before_after(shown), folder / "sheet.png")
        log_videos(trainer, "edits/videos", videos)
        log_image(trainer, "edits/sheet", picture, f"step {trainer.global_step}")
        self._table.add(
            trainer,
            [
                (trainer.global_step, result.example.name, measure, value)
                for result in results
                for measure, value in result.measures.items()
            ],
        )


def _classifier(example: Example) -> AttributeClassifier | None:
    """Return what knows the labels of rendered faces; nothing here knows those of others."""
    if example.flow is None:
        return None
    from keyface.miniature import zoo

    return zoo.attribute_classifier()


def _means(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over the examples that have it."""
    names = dict.fromkeys(name for each in measures for name in each)
    means = {}
    for name in names:
        values = [each[name] for each in measures if name in each]
        means[name] = sum(values) / len(values)
    return means
