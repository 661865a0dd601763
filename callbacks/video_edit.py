"""Edits the same clips at every validation, so that a run is watched and not only plotted."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from keyface.callbacks.clip_networks import ClipNetworks, Recognizers
from keyface.callbacks.clips import Example, miniature_examples, picture_examples, video_examples
from keyface.callbacks.dashboard import GrowingTable, alert, log_image, log_videos
from keyface.callbacks.edit_measures import MEASURES, Result, measure, measures_by_category
from keyface.callbacks.edit_record import step_folder, write_record
from keyface.configuration import given
from keyface.diffusion.backbone import Backbone, load_unet
from keyface.diffusion.device import placed
from keyface.diffusion.precision import Precision, autocast_unets, choose_dtype
from keyface.editing.settings import EditSettings
from keyface.pictures import draw_before_after, save_png, to_image
from keyface.pipeline.branches import branch_folder
from keyface.pipeline.companions import Companions
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins import edits as registry
from keyface.video import write_clip

Branch = Literal["identity", "direction"]

COLUMNS = ("step", "example", "source", "edit", "compare", "source prompt", "target prompt", *MEASURES)
"""Of the table: pictures of the middle frame, the video with both, words, and the measures."""


class EditingModule(Protocol):
    """A training module with whose network the callback can edit."""

    backbone: Backbone

    def whole_unet(self) -> UNet2DConditionModel | None:
        """Return the branch, averaged in validation; every process asks, and the first one edits with it."""


@runtime_checkable
class HoldsOut(Protocol):
    """Data that keep pictures for validation."""

    def held_out(self) -> Iterator[dict[str, Any]]:
        """Yield them one by one, as batches of one, with label maps where there are any."""
        ...


REAL_FAMILIES = ("sd1", "sd2")
"""Families of bases (`Backbone.family`) to which rendered faces are strangers."""


class VideoEditCallback(Callback):
    """Edits fixed clips at validation with the weights as they stand.

    The branch that is being trained takes its place in the editor; the other is the untuned base, the
    miniature's shipped one or a folder of yours. Writes into the run's folder
    `edits/step-<n>/<example>.mp4` (source on the left, edit on the right) and `edits/step-<n>/sheet.png`;
    logs the curves `edit/identity_distance`, `edit/direction_similarity`, `edit/reconstruction_psnr`,
    `edit/edit_success` by the categories' own judges and, on rendered clips, by the miniature's
    classifier, and where motion and regions are known, which is not in videos, `edit/temporal_loss` and
    `edit/outside_change` to every logger, each as the mean over all examples and by category as
    `edit/<measure>/<category>`; videos, sheet and a table to W&B. All of them stand at the number of
    steps that were taken, the first before any. A fall of the success is alerted.

    Note:
        Only the first rank edits, while the others wait; a run on several GPUs wants few, short clips and a
        long interval. The curves exist on that rank only, so do not let a ModelCheckpoint monitor them there.
        Where the branch is spread over processes, all its weights must fit the first rank for the edit.

    Args:
        branch: Which branch the module trains: `identity` (ε1) or `direction` (ε2).
        edits: Names of edit categories; each is applied to each clip by itself.
        clips: How many clips to render of held-out miniature identities for each edit, which Stable
            Diffusion does not take; or paths of videos.
        pictures: In place of them: so many held-out pictures of the data for each edit, of people to whom it
            applies, each before a camera that moves a little.
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
            rendered clips, and refused for others.
        image_text: Name of the CLIP pair for the direction similarity, such as `clip-vit-b-16`, or the pair.
            None is the miniature's for rendered clips, and leaves the measure out for others.
        seed: Of the rendered clips.
        at_start: Whether to edit before the first step, too: where the curves begin.
        alert_fall: Fall of `edit/edit_success` below its best so far that is alerted.
        dtype: Precision in which the U-Nets edit, whatever they train in: `auto` is bf16 or fp16 on a GPU.

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
        at_start: bool = True,
        alert_fall: float = 0.2,
        pictures: int = 0,
        dtype: Precision = "auto",
    ) -> None:
        if branch not in get_args(Branch):
            raise ValueError(f"VideoEditCallback: branch is {branch!r}, it must be identity or direction")
        if dtype not in get_args(Precision):
            raise ValueError(
                f"VideoEditCallback: dtype is {dtype!r}; choose {', '.join(get_args(Precision))}"
            )
        for name, value in (("frames", frames), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise ValueError(f"VideoEditCallback: {name} is {value}, it must be at least 1")
        if pictures < 0 or (pictures and isinstance(clips, list)):
            raise ValueError(
                f"VideoEditCallback: pictures is {pictures}, it must be 0 or more, and 0 with videos"
            )
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
        self.clips, self.pictures = clips, pictures
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
        self.at_start = at_start
        self.alert_fall = alert_fall
        self.dtype: Precision = dtype
        self._last_step = 0
        self._best_success = 0.0
        self._fallen = False
        self._logged: dict[str, float] = {}
        self._examples: list[Example] | None = None
        self._networks: ClipNetworks | None = None
        self._table = GrowingTable("edit/table", COLUMNS)

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
        backbone = cast(EditingModule, pl_module).backbone
        rendered = isinstance(self.clips, int) and not self.pictures
        if rendered and backbone.family in REAL_FAMILIES:
            raise ValueError(
                "VideoEditCallback: its clips are rendered faces, which Stable Diffusion does not know; say "
                "pictures: 1 (held-out ones of the data for each edit), or clips: [talk.mp4]"
            )
        if self.pictures and not isinstance(_data(trainer), HoldsOut):
            raise ValueError("VideoEditCallback: pictures needs data that hold some out: ShardsDataModule")
        if trainer.is_global_zero:
            self._find_networks()
            if not rendered:
                self._examples = self._load(trainer, pl_module, backbone)

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last edit and the best success, which a resumed run goes on from."""
        return {"last_step": self._last_step, "best_success": self._best_success}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the interval and the best success where the checkpoint left them."""
        self._last_step = int(state_dict["last_step"])
        self._best_success = float(state_dict.get("best_success", 0.0))  # 0.2.0 kept none

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit before the first step of a run that begins."""
        if self.at_start and trainer.global_step == 0:
            training = pl_module.training
            pl_module.eval()
            self._edit(trainer, pl_module)
            pl_module.train(training)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit, write and log, where it is time to."""
        if trainer.sanity_checking or not self._due(trainer):
            return
        self._edit(trainer, pl_module)
        # For checkpoints and the export's card; the loggers have them at their own step.
        for key, value in self._logged.items():
            pl_module.log(key, value, logger=False, rank_zero_only=True, sync_dist=False)

    def _edit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit, write, log and alert; every process must ask."""
        self._last_step = trainer.global_step
        unet = cast(EditingModule, pl_module).whole_unet()
        # Lightning asks every process for this, too.
        run = Path(trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero:
            assert unet is not None
            results = self._edit_all(trainer, pl_module, unet.to(pl_module.device))
            self._logged = {f"edit/{key}": value for key, value in measures_by_category(results).items()}
            for logger in trainer.loggers:
                logger.log_metrics(self._logged, step=trainer.global_step)
            self._write(trainer, step_folder(run, trainer.global_step), results)
            self._alert_of_fall(trainer, self._logged.get("edit/edit_success"))
        trainer.strategy.barrier("VideoEditCallback")

    def _alert_of_fall(self, trainer: Trainer, success: float | None) -> None:
        if success is None:
            return
        fell = self._best_success - success >= self.alert_fall
        if fell and not self._fallen:  # once a fall
            alert(
                trainer,
                "Edit success fell",
                f"edit/edit_success is {success:.2f} at step {trainer.global_step}; it was "
                f"{self._best_success:.2f} before",
            )
        self._fallen = fell
        self._best_success = max(self._best_success, success)

    def _due(self, trainer: Trainer) -> bool:
        if trainer.state.fn == TrainerFn.VALIDATING:  # `lightning validate`, not the validation of a fit
            return True
        if self.every_n_steps is not None:
            return trainer.global_step - self._last_step >= self.every_n_steps
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0

    @torch.no_grad()
    def _edit_all(
        self, trainer: Trainer, module: LightningModule, unet: UNet2DConditionModel
    ) -> list[Result]:
        backbone = cast(EditingModule, module).backbone
        if self._examples is None:
            self._examples = self._load(trainer, module, backbone)
        # A base that no training step runs waits on the CPU.
        with placed(backbone.unet, module.device):
            pipe = self._pipeline(backbone, unet)
            return [self._edit_one(example, pipe, module.device) for example in self._examples]

    def _edit_one(self, example: Example, pipe: FaceEditPipeline, device: torch.device) -> Result:
        frames = example.frames.to(device)
        settings = self._settings_for(example, pipe)
        unets = [each for each in (pipe.backbone.unet, pipe.identity, pipe.direction) if each is not None]
        with autocast_unets(unets, choose_dtype(self.dtype, device)):
            edited, report = pipe.edit_frames(frames, example.prompts, settings)
        edited = edited.clamp(-1, 1)
        assert self._networks is not None
        measures = measure(example, frames, edited, self._networks)
        measures["reconstruction_psnr"] = report.reconstruction_psnr
        return Result(example, edited.cpu(), measures)

    def _load(self, trainer: Trainer, module: LightningModule, backbone: Backbone) -> list[Example]:
        categories = [registry[name] for name in self.edits]
        if self.pictures:
            samples = cast(HoldsOut, _data(trainer)).held_out()
            return picture_examples(categories, samples, self.pictures, self.frames)
        if isinstance(self.clips, int):
            return miniature_examples(categories, self.clips, self.frames, backbone.image_size, self.seed)
        placement = Companions.of(str(module.hparams.get("backbone"))).placement
        return video_examples(
            categories,
            [Path(clip) for clip in self.clips],
            self.captions,
            self.frames,
            backbone.image_size,
            self._find_networks(),
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
        if self._networks is None and self.pictures:
            self._networks = ClipNetworks.of_pictures(self.recognizers, self.image_text)
        elif self._networks is None and isinstance(self.clips, int):
            self._networks = ClipNetworks.of_rendered(self.recognizers, self.image_text)
        elif self._networks is None:
            captioner = self.captioner if self.captions is None else None
            self._networks = ClipNetworks.of_videos(self.recognizers, self.image_text, captioner, self.finder)
        return self._networks

    def _write(self, trainer: Trainer, folder: Path, results: Sequence[Result]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        videos, rows = {}, []
        for result in results:
            example, middle = result.example, len(result.edited) // 2
            path = folder / f"{example.name}.mp4"
            write_clip(path, torch.cat((example.frames, result.edited), dim=-1), example.fps)
            videos[f"{example.name}: {example.prompts.target}"] = path
            pictures = [to_image(frames[middle]) for frames in (example.frames, result.edited)]
            prompts = (example.prompts.source, example.prompts.target)
            measures = [result.measures.get(name) for name in MEASURES]
            rows.append((trainer.global_step, example.name, *pictures, path, *prompts, *measures))
        shown = [(result.example.name, result.example.frames, result.edited) for result in results]
        picture = save_png(draw_before_after(shown), folder / "sheet.png")
        write_record(folder, results)
        log_videos(trainer, "edit/videos", videos)
        log_image(trainer, "edit/sheet", picture, f"step {trainer.global_step}")
        self._table.add(trainer, rows)


def _data(trainer: Trainer) -> object:
    return getattr(trainer, "datamodule", None)
