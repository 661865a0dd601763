"""Makes the controls: originals in the place of edits, the ground truth, clips with a fault or unedited."""

from pathlib import Path

import torch
from torch import Tensor

from keyface.diffusion.inversion import invert
from keyface.diffusion.sampling import denoise
from keyface.editing.editor import evaluating
from keyface.editing.settings import EditSettings
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import EDITS
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.controls import ANOTHER, AUTOENCODER, GROUND_TRUTH, INVERSION, SOURCE
from keyface.evaluation.rows.method import Method
from keyface.evaluation.rows.ours import describe, prompts_of, settings_for
from keyface.evaluation.rows.outputs import Outputs, ingredients
from keyface.evaluation.rows.spoiled import FAULTS
from keyface.evaluation.rows.variants import Variant
from keyface.files import sha256
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.progress import each

_CHUNK = 16


def source(clips: ClipSet) -> Candidate:
    """Return the control that is the original itself."""
    return Candidate(SOURCE, "control", clips, stands_for={clip.key: clip for clip in clips.edited})


def another_person(clips: ClipSet) -> Candidate:
    """Return the control that is, for each clip, the next one of somebody else and of equal length.

    A clip for which there is none is missing in the row.
    """
    chosen: dict[str, ClipSpec] = {}
    everything = (*clips.edited, *clips.gallery)
    for position, clip in enumerate(clips.edited):
        following = (*everything[position + 1 :], *everything[:position])
        for other in following:
            if other.identity != clip.identity and (other.frames, other.size) == (clip.frames, clip.size):
                chosen[clip.key] = other
                break
    return Candidate(ANOTHER, "control", clips, stands_for=chosen)


def ground_truth(clips: ClipSet) -> Candidate | None:
    """Return the control that is the renderer's own edit; None for clips that nobody rendered."""
    folder = clips.folder / EDITS
    return Candidate(GROUND_TRUTH, "control", clips, Method(EDITS, folder)) if folder.is_dir() else None


def spoiled(clips: ClipSet, folder: Path) -> list[Candidate]:
    """Make the controls with one known fault each.

    Faults are put into the renderer's own edit, or into the original where nobody rendered the clips; too
    little and too much of an edit are made of the former alone.

    Args:
        clips: The clip set.
        folder: Gets a folder each.
    """
    truth = ground_truth(clips)
    base = source(clips) if truth is None else truth
    faults = {name: fault for name, fault in FAULTS.items() if truth is not None or fault.change is not None}
    rows = {name: Outputs(folder / name.strip("()")) for name in faults}
    for outputs in rows.values():
        outputs.folder.mkdir(parents=True, exist_ok=True)
    for clip in each(clips.edited, "controls with a fault"):
        if (video := base.video_of(clip)) is None:
            continue
        hashes = {"original": sha256(clips.video_of(clip)), "faultless": sha256(video)}
        wanted = {
            name: {"control": name, "size": fault.size, "clip": clip.to_json(), **hashes}
            for name, fault in faults.items()
            if clip.frames > 1 or not fault.over_time
        }
        missing = [name for name, made_from in wanted.items() if not rows[name].has(clip, made_from)]
        if missing:
            original, faultless = clips.frames_of(clip), base.frames_of(clip)
        for name in missing:
            rows[name].write(clip, faults[name].spoil(original, faultless), wanted[name], {})
    return [
        Candidate(name, "control", clips, Method(outputs.folder.name, outputs.folder))
        for name, outputs in rows.items()
    ]


def through_the_model(
    clips: ClipSet, pipe: FaceEditPipeline, variant: Variant, folder: Path
) -> list[Candidate]:
    """Make the controls `(autoencoder)` and `(inversion)`: the original through the model, unedited.

    Args:
        clips: The clip set.
        pipe: What would edit.
        variant: How it would; the inversion is that of its settings.
        folder: Gets a folder each.
    """
    rows = []
    for name, make in ((AUTOENCODER, _through_autoencoder), (INVERSION, _through_inversion)):
        outputs = Outputs(folder / name.strip("()"))
        outputs.folder.mkdir(parents=True, exist_ok=True)
        for clip in each(clips.edited, name):
            settings = settings_for(pipe, clip, variant)
            made_from = {"control": name, **ingredients(clips, clip, pipe, settings, variant)}
            if not outputs.has(clip, made_from):
                outputs.write(clip, make(clips.frames_of(clip), clip, pipe, settings), made_from, {})
        method = Method(outputs.folder.name, outputs.folder)
        rows.append(Candidate(name, "control", clips, method, settings=describe(pipe, variant)))
    return rows


@torch.no_grad()
def _through_autoencoder(
    frames: Tensor, clip: ClipSpec, pipe: FaceEditPipeline, settings: EditSettings
) -> Tensor:
    backbone = pipe.backbone
    with evaluating(backbone.vae):
        parts = [
            backbone.decode_latents(backbone.encode_images(part.to(backbone.device))).float().cpu()
            for part in torch.split(frames, _CHUNK)
        ]
    return torch.cat(parts).clamp(-1, 1)


@torch.no_grad()
def _through_inversion(
    frames: Tensor, clip: ClipSpec, pipe: FaceEditPipeline, settings: EditSettings
) -> Tensor:
    """Invert and denoise frame by frame: nothing is edited, so nothing is shared between frames either."""
    backbone, level = pipe.backbone, settings.start_level
    tuned = pipe.identity if settings.inversion == "identity" else None
    inverter = backbone.unet if tuned is None else tuned
    found = []
    with evaluating(backbone.vae, backbone.text_encoder, inverter):
        text = backbone.encode_prompts([prompts_of(clip).source]).to(backbone.device)
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
