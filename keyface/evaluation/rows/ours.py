"""Edits a clip set with keyface, and makes the controls that need a model; what is done already is kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.sampling import denoise
from keyface.editing.editor import TensorFrames, VideoEditor, evaluating
from keyface.editing.settings import EditSettings, Prompts
from keyface.evaluation.clip_sets.clip_set import ClipSet, ClipSpec, Method, file_sha256
from keyface.evaluation.rows.candidate import Candidate, Kind
from keyface.evaluation.rows.variants import Variant
from keyface.evaluation.scoring.cache import digest
from keyface.evaluation.scoring.metrics import AUTOENCODER, INVERSION
from keyface.evaluation.scoring.scores import categories_of
from keyface.files import write_text
from keyface.video import write_clip

SYNTHETIC = "This video is synthetic: the face in it was edited by a generative model (keyface)."

_CHUNK = 16

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Model:
    """What edits.

    Attributes:
        backbone: The frozen base.
        identity: ε1; None is the base's U-Net.
        direction: ε2; None is the base's U-Net.
        settings: Defaults of every variant.
        strength: What the categories' strength is multiplied by, unless a variant names a strength.
        versions: What the networks are, by their hashes.
    """

    backbone: Backbone
    identity: UNet2DConditionModel | None = None
    direction: UNet2DConditionModel | None = None
    settings: EditSettings = field(default_factory=EditSettings)
    strength: float = 1.0
    versions: Mapping[str, str] = field(default_factory=dict)

    def settings_for(self, clip: ClipSpec, variant: Variant) -> EditSettings:
        """How a variant edits a clip: as its categories ask for, where the variant names nothing else."""
        settings = replace(self.settings, strength=self.strength)
        return variant.apply(settings.for_categories(categories_of(clip) or ()))

    def editor(self, clip: ClipSpec, variant: Variant) -> VideoEditor:
        """The editor of a clip."""
        return VideoEditor(
            self.backbone,
            self.identity if variant.tuned("identity") else None,
            self.direction if variant.tuned("direction") else None,
            self.settings_for(clip, variant),
        )


def edit_clips(
    clips: ClipSet, model: Model, variant: Variant, folder: Path, advance: Advance, kind: Kind = "method"
) -> Candidate:
    """Edit every clip that is to be edited, but for those that the folder has from the same settings.

    Args:
        clips: The clip set.
        model: What edits.
        variant: How.
        folder: Gets KEY.mp4 and KEY.json (settings, prompts, seconds, reconstruction PSNR) of every clip.
        advance: Told of each clip.
        kind: Of the row.

    Raises:
        ValueError: A clip has no prompts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips.edited:
        prompts = _prompts(clip)
        settings = model.settings_for(clip, variant)
        made_from = _made_from(clips, clip, model, settings, variant)
        if not _kept(folder, clip, made_from):
            editor, edited = model.editor(clip, variant), list[Tensor]()
            report = editor.edit(TensorFrames(clips.frames_of(clip)), prompts, edited.append)
            record = {
                "seconds": report.seconds,
                "vae_psnr": report.vae_psnr,
                "reconstruction_psnr": report.reconstruction_psnr,
            }
            _publish(folder, clip, torch.cat(edited), made_from, record)
        advance(1)
    described = {**asdict(variant.apply(model.settings)), **_branches(variant)}
    if "strength" not in variant.settings:
        described["strength"] = f"the category's x {model.strength:g}"
    if "guidance_scale" not in variant.settings:
        described["guidance_scale"] = f"the category's x {model.settings.guidance_scale:g}"
    if "injection.until" not in variant.settings:
        described["injection"]["until"] = f"the category's x {model.settings.injection.until:g}"
    return Candidate(variant.name, kind, clips, Method(variant.name, folder), settings=described)


def control_clips(
    clips: ClipSet, model: Model, variant: Variant, folder: Path, advance: Advance
) -> list[Candidate]:
    """Make the rows `(autoencoder)` and `(inversion)`: the original through the model, without an edit.

    Args:
        clips: The clip set.
        model: What would edit.
        variant: How it would; the inversion is that of its settings.
        folder: Gets a folder each.
        advance: Told of each clip of each row.
    """
    rows = []
    for name, through in ((AUTOENCODER, _through_autoencoder), (INVERSION, _through_inversion)):
        place = folder / name.strip("()")
        place.mkdir(parents=True, exist_ok=True)
        for clip in clips.edited:
            settings = model.settings_for(clip, variant)
            made_from = {"control": name, **_made_from(clips, clip, model, settings, variant)}
            if not _kept(place, clip, made_from):
                _publish(place, clip, through(clips.frames_of(clip), clip, model, settings), made_from, {})
            advance(1)
        method = Method(place.name, place)
        rows.append(Candidate(name, "control", clips, method, settings=asdict(variant.apply(model.settings))))
    return rows


@torch.no_grad()
def _through_autoencoder(frames: Tensor, clip: ClipSpec, model: Model, settings: EditSettings) -> Tensor:
    backbone = model.backbone
    with evaluating(backbone.vae):
        parts = [
            backbone.decode_latents(backbone.encode_images(part.to(backbone.device))).float().cpu()
            for part in torch.split(frames, _CHUNK)
        ]
    return torch.cat(parts).clamp(-1, 1)


@torch.no_grad()
def _through_inversion(frames: Tensor, clip: ClipSpec, model: Model, settings: EditSettings) -> Tensor:
    """Frame by frame: nothing is edited, so nothing is shared between frames either."""
    backbone, level = model.backbone, settings.start_level
    tuned = model.identity if settings.inversion == "identity" else None
    inverter = backbone.unet if tuned is None else tuned
    found = []
    with evaluating(backbone.vae, backbone.text_encoder, inverter):
        text = backbone.encode_prompts([_prompts(clip).source]).to(backbone.device)
        for part in torch.split(frames, settings.chunk_size):
            latents = backbone.encode_images(part.to(backbone.device))
            noisy = invert(
                inverter,
                backbone.scheduler,
                latents,
                text,
                settings.steps,
                settings.fixed_point_iterations,
                until=level,
            )[-1]
            clean = denoise(inverter, backbone.scheduler, noisy, text, settings.steps, level, settings.solver)
            found.append(backbone.decode_latents(clean).float().cpu())
    return torch.cat(found).clamp(-1, 1)


def _prompts(clip: ClipSpec) -> Prompts:
    if clip.source is None or clip.target is None:
        raise ValueError(
            f"clip {clip.key} has no source or target prompt; write both into the clip set to edit it"
        )
    return Prompts(clip.source, clip.target)


def _branches(variant: Variant) -> dict[str, str]:
    return {name: "tuned" if variant.tuned(name) else "base" for name in ("identity", "direction")}


def _made_from(
    clips: ClipSet, clip: ClipSpec, model: Model, settings: EditSettings, variant: Variant
) -> dict[str, Any]:
    """All that an output depends on, as JSON takes it."""
    return {
        "clip": clip.to_json(),
        "original": file_sha256(clips.video_of(clip)),
        "settings": asdict(settings),
        "branches": _branches(variant),
        "weights": dict(model.versions),
    }


def _kept(folder: Path, clip: ClipSpec, made_from: Mapping[str, Any]) -> bool:
    """Whether the folder has the clip's output, made from the same."""
    video, sidecar = folder / f"{clip.key}.mp4", folder / f"{clip.key}.json"
    if not video.is_file() or not sidecar.is_file():
        return False
    try:
        found = json.loads(sidecar.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and found.get("digest") == digest(made_from)


def _publish(
    folder: Path, clip: ClipSpec, frames: Tensor, made_from: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """Write the video, then what it was made from: without the second, the first counts as not made."""
    (folder / f"{clip.key}.json").unlink(missing_ok=True)
    rate = Fraction(clip.fps).limit_denominator(1001)
    write_clip(folder / f"{clip.key}.mp4", frames, rate, metadata={"comment": SYNTHETIC})
    content = {"statement": SYNTHETIC, "digest": digest(made_from), "made_from": made_from, **record}
    write_text(
        folder / f"{clip.key}.json", json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
    )
