"""The networks of an edit with their defaults: `keyface.FaceEditPipeline`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.diffusion.backbone_files import backbone_weights, unet_weights
from keyface.diffusion.device import choose_device
from keyface.diffusion.precision import Precision, accelerate, choose_dtype, limit_kernel_cache, name_of
from keyface.editing.editor import EditReport, Progress, VideoEditor
from keyface.editing.settings import EditSettings, Prompts
from keyface.faces.crops import FFHQ, Placement
from keyface.models.backbones import MINIATURE, find_backbone
from keyface.pipeline.additions import Added, Additions
from keyface.pipeline.branches import branch_folder
from keyface.pipeline.companions import ClipCaptioner, Companions, Familiarity, FindRegions
from keyface.pipeline.defaults import defaults_of
from keyface.pipeline.output.record import EditRecord
from keyface.pipeline.planning.plan import FindFaces, Plan, make_plan
from keyface.pipeline.preview import preview_edit
from keyface.pipeline.request.framing import Framing
from keyface.pipeline.request.request import VideoRequest
from keyface.pipeline.video import edit_video
from keyface.weights.hashes import known_sha256

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from keyface.faces.regions import RegionSource
    from keyface.plugins import Category

Say = Callable[[str], None]
Weights = Literal["tuned", "base"]

NOTHING, NO_NETWORKS = Additions(), Added()


class FaceEditPipeline:
    """Edit faces in videos by text, with a backbone, ε1, ε2 and the settings that suit them.

    Args:
        backbone: Autoencoder, text encoder, schedule, untuned U-Net.
        identity: ε1; None takes the untuned U-Net.
        direction: ε2; None takes the untuned U-Net.
        defaults: How to edit where nothing else is asked for; None reads `edit.yaml` beside the backbone's
            weights, where there is one.
        untuned_defaults: How to edit with the untuned U-Net in place of ε2; None is as `defaults`.
        captioner: Finds a clip's source caption; None leaves that to whoever edits.
        familiarity: Tells whether the backbone knows a clip's face; None says nothing about it.
        finder: Finds the faces that the backbone knows; None takes a finder of real faces.
        placement: How the backbone wants a face to lie in its pictures.
        regions: Finds the regions that an edit is held to; None holds it to none.
        name: What the backbone is called in records.
        folders: Where the fine-tuned branches were read from, by `identity` and `direction`.
        additions: What was added to the networks, for records.
        added: Networks that came with it.
        reopen: Reads the same networks once more, onto `device`, in another process; None cannot.

    Example:
        >>> pipe = FaceEditPipeline.from_pretrained("miniature")                       # doctest: +SKIP
        >>> pipe.edit("clip.mp4", "edited.mp4", edits=["glasses", "beard"])            # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Backbone,
        identity: UNet2DConditionModel | None = None,
        direction: UNet2DConditionModel | None = None,
        *,
        defaults: EditSettings | None = None,
        untuned_defaults: EditSettings | None = None,
        captioner: ClipCaptioner | None = None,
        familiarity: Familiarity | None = None,
        finder: FindFaces | None = None,
        placement: Placement = FFHQ,
        regions: FindRegions | None = None,
        name: str = "",
        folders: Mapping[str, Path] | None = None,
        additions: Additions = NOTHING,
        added: Added = NO_NETWORKS,
        reopen: Callable[..., FaceEditPipeline] | None = None,
    ) -> None:
        self.backbone = backbone
        self.identity = identity
        self.direction = direction
        self.defaults = defaults_of(backbone.source) if defaults is None else defaults
        self.untuned_defaults = self.defaults if untuned_defaults is None else untuned_defaults
        self.captioner = captioner
        self.familiarity = familiarity
        self.finder = finder
        self.placement = placement
        self.find_regions = regions
        self.name = name
        self.folders = dict(folders or {})
        self.additions = additions
        self.added = added
        self.reopen = reopen

    @classmethod
    def from_pretrained(
        cls,
        name: Path | str = MINIATURE,
        identity: Path | str | None = None,
        direction: Path | str | None = None,
        device: torch.device | str | None = None,
        *,
        dtype: Precision = "auto",
        additions: Additions = NOTHING,
        say: Say = lambda text: None,
    ) -> FaceEditPipeline:
        """Read networks.

        Args:
            name: A backbone: `miniature`, a folder in diffusers' layout, a .safetensors file, OWNER/NAME on
                the model hub, or a name of `keyface weights list`.
            identity: Folder of ε1: of an export, a run, or an experiment, of which the newest run with an
                export is taken. None takes what comes with the backbone, else its untuned U-Net.
            direction: Folder of ε2, likewise.
            device: Where to compute; None takes a GPU where there is one.
            dtype: Precision of the U-Nets, see `keyface.diffusion.precision`; the rest is fp32 in any case.
            additions: LoRAs, words, a ControlNet and an IP-Adapter, `Additions.of(lora=["a.safetensors"])`.
            say: Told what was chosen where that is not plain from the arguments.

        Raises:
            FileNotFoundError: Weights are not here; the message says how to get them.
            ValueError: What is there cannot be read.
        """
        limit_kernel_cache()
        place = choose_device(device)
        chosen = choose_dtype(dtype, place)
        name = str(name)
        companions = Companions.of(name)
        folders: dict[str, Path] = {}
        for branch, given, shipped in (
            ("identity", identity, companions.identity),
            ("direction", direction, companions.direction),
        ):
            if given is not None:
                folders[branch] = branch_folder(Path(given))
                if folders[branch] != Path(given):
                    say(f"--{branch}: taken from {folders[branch]}")
            elif shipped is not None:
                folders[branch] = shipped
            else:
                say(f"no --{branch} given: using the backbone's untuned U-Net in its place")
        backbone = find_backbone(name)
        branches = {branch: load_unet(folder, backbone.unet) for branch, folder in folders.items()}
        added = additions.add_to(backbone, list(branches.values()))
        branches = {branch: unet.to(place) for branch, unet in branches.items()}
        if added.controlnet is not None:
            added.controlnet.network.to(place)
        backbone, _ = accelerate(
            backbone.to(place), list(branches.values()), dtype=chosen, channels_last=place.type == "cuda"
        )
        return cls(
            backbone,
            **branches,
            defaults=defaults_of(backbone.source, folders.get("direction")),
            untuned_defaults=defaults_of(backbone.source),
            captioner=companions.captioner,
            familiarity=companions.familiarity,
            finder=companions.finder,
            placement=companions.placement,
            regions=companions.regions,
            name=Path(name).name,
            folders=folders,
            additions=additions,
            added=added,
            reopen=partial(cls.from_pretrained, name, identity, direction, dtype=dtype, additions=additions),
        )

    @cached_property
    def regions(self) -> RegionSource | None:
        """Return what finds the regions of faces in their crops, read when it is first asked for."""
        return None if self.find_regions is None else self.find_regions(torch.device(self.backbone.device))

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Return the SHA-256 of each file of weights in use, by `weights/…`, `identity/…`, `direction/…`, ….

        What lies beside them unused is not read, and what did not change since an earlier run not again. A
        branch without a folder is not among them, nor is a backbone that was not read from files.
        """
        source = self.backbone.source
        used = (
            {} if source is None else {"weights": (source, backbone_weights(source, type(self.backbone.vae)))}
        )
        used |= {role: (folder, unet_weights(folder)) for role, folder in self.folders.items()}
        used |= self.additions.files
        found = {}
        for role, (place, files) in used.items():
            for file in files:
                inside = file.name if file == place else file.relative_to(place).as_posix()
                found[f"{role}/{inside}"] = known_sha256(file)
        return found

    @property
    def precision(self) -> str:
        """Return the precision of the U-Nets: fp32, bf16 or fp16."""
        return name_of(self.backbone.dtype)

    def crop_side(self, framing: Framing) -> int:
        """Return the side in pixels of the crops that this backbone edits.

        Raises:
            ValueError: A side is asked for that it cannot take.
        """
        return framing.side(self.backbone.image_size, self.backbone.coarsest_cell)

    def settings_for(self, categories: Sequence[Category], direction: Weights = "tuned") -> EditSettings:
        """Return how these networks edit with categories, where nothing else is asked for.

        Args:
            categories: What is edited.
            direction: `base`: with the untuned U-Net in place of ε2.
        """
        return self.defaults_with(direction).for_categories(categories, self.backbone.family)

    def defaults_with(self, direction: Weights) -> EditSettings:
        """Return how these networks edit without categories, with ε2 or with the untuned U-Net."""
        return self.defaults if direction == "tuned" else self.untuned_defaults

    def editor(
        self,
        settings: EditSettings | None = None,
        *,
        identity: Weights = "tuned",
        direction: Weights = "tuned",
    ) -> VideoEditor:
        """Return an editor of clips.

        Args:
            settings: How to edit; None is `defaults`.
            identity: `base` takes the untuned U-Net in place of ε1.
            direction: `base` takes the untuned U-Net in place of ε2.
        """
        return VideoEditor(
            self.backbone,
            self.identity if identity == "tuned" else None,
            self.direction if direction == "tuned" else None,
            self.defaults if settings is None else settings,
            controlnet=self.added.controlnet,
        )

    def edit_frames(
        self, frames: Tensor, prompts: Prompts, settings: EditSettings | Mapping[str, Any] | None = None
    ) -> tuple[Tensor, EditReport]:
        """Edit frames that are in memory.

        Args:
            frames: (T, 3, H, W) in [-1, 1], H and W multiples of the model's coarsest cell.
            prompts: Source and target caption.
            settings: How to edit, whole, or the values that differ from `defaults`; None is `defaults`.

        Returns:
            The edited frames, (T, 3, H, W) on the CPU, about [-1, 1], and the editor's report.
        """
        if not isinstance(settings, EditSettings):
            settings = self.defaults.with_values(settings or {})
        return self.editor(settings).edit_frames(frames, prompts)

    def edit(
        self, video: Path | str, output: Path | str, *, compare: Path | str | None = None, **request: Any
    ) -> EditRecord:
        """Edit the face in a video file, and write a video file and its record.

        Args:
            video: The video to edit: mp4, mov, mkv, webm or avi.
            output: The video to write: .mp4, .m4v, .mov or .mkv.
            compare: Where to write a video of original and result side by side; None writes none.
            request: What is to change and how, see `keyface.pipeline.request.request.VideoRequest`: `edits`
                or `prompt`, `source`, `settings`, `crop`, `overwrite`, …

        Raises:
            ValueError: The request does not fit together, or the video cannot be used.
            FileNotFoundError: There is no such video.
        """
        beside = None if compare is None else Path(compare)
        return self.run(VideoRequest(Path(video), Path(output), compare=beside, **request))

    def run(
        self,
        request: VideoRequest,
        progress: Progress | None = None,
        say: Say = lambda text: None,
        plan: Plan | None = None,
    ) -> EditRecord:
        """Edit a video file as it is asked for.

        Args:
            request: What is asked for, checked.
            progress: Called with a stage's name, units done and units to do.
            say: Told what is known before the edit begins, and what is kept of a stopped edit.
            plan: Whose faces are edited where; None finds that out.

        Raises:
            ValueError: The request does not fit these networks, the video is damaged, or shows no face.
        """
        if plan is None:
            plan = make_plan(request, self.finder, self.placement, progress, self.backbone.device)
        return edit_video(self, request, plan, progress, say)

    def preview(
        self,
        request: VideoRequest,
        progress: Progress | None = None,
        say: Say = lambda text: None,
        plan: Plan | None = None,
    ) -> Path:
        """Edit three keyframes as `run` would, and write `request.preview`, a picture of them.

        Args:
            request: What is asked for.
            progress: As of `run`.
            say: As of `run`.
            plan: As of `run`.

        Returns:
            The picture's path.
        """
        if plan is None:
            plan = make_plan(request, self.finder, self.placement, progress, self.backbone.device)
        return preview_edit(self, request, plan, progress, say)


def edit(video: Path | str, output: Path | str, **request: Any) -> EditRecord:
    """Edit a video with the miniature, which comes with keyface and knows rendered faces only.

    Args:
        video: The video to edit.
        output: The video to write.
        request: As of `FaceEditPipeline.edit`.
    """
    return FaceEditPipeline.from_pretrained().edit(video, output, **request)
