"""Edits a clip set with keyface; what is done already is kept."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyface.editing.editor import TensorFrames
from keyface.editing.settings import EditSettings, Prompts
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate, Kind
from keyface.evaluation.rows.method import Method
from keyface.evaluation.rows.outputs import Outputs, ingredients
from keyface.evaluation.rows.variants import Variant
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins.compose import negative_prompt
from keyface.progress import each


def edit_clips(
    clips: ClipSet, pipe: FaceEditPipeline, variant: Variant, folder: Path, kind: Kind = "method"
) -> Candidate:
    """Edit every clip that is to be edited, but for those that the folder has from the same settings.

    Args:
        clips: The clip set.
        pipe: What edits.
        variant: How.
        folder: Gets KEY.mp4 and KEY.json (settings, prompts, seconds, reconstruction PSNR) of every clip.
        kind: Of the row.

    Raises:
        ValueError: A clip has no prompts.
    """
    outputs = Outputs(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for clip in each(clips.edited, f"edit: {variant.name}"):
        prompts = prompts_of(clip)
        settings = settings_for(pipe, clip, variant)
        made_from = ingredients(clips, clip, pipe, settings, variant)
        if prompts.negative is not None:
            made_from["negative"] = prompts.negative
        if not outputs.has(clip, made_from):
            editor, edited = pipe.editor(settings, **variant.branches), list[Tensor]()
            report = editor.edit(TensorFrames(clips.frames_of(clip)), prompts, edited.append)
            said = {
                "seconds": report.seconds,
                "vae_psnr": report.vae_psnr,
                "reconstruction_psnr": report.reconstruction_psnr,
            }
            outputs.write(clip, torch.cat(edited), made_from, said)
    return Candidate(
        variant.name, kind, clips, Method(variant.name, folder), settings=describe(pipe, variant)
    )


def settings_for(pipe: FaceEditPipeline, clip: ClipSpec, variant: Variant) -> EditSettings:
    """Return how a variant edits a clip: as its categories ask for, where the variant says nothing else."""
    return variant.apply(pipe.settings_for(clip.known_categories() or (), variant.direction))


def prompts_of(clip: ClipSpec) -> Prompts:
    """Return a clip's prompts.

    Raises:
        ValueError: It lacks one.
    """
    categories = clip.known_categories()
    if clip.source is None or clip.target is None:
        raise ValueError(
            f"clip {clip.key} has no source or target prompt; write both into the clip set to edit it"
        )
    return Prompts(clip.source, clip.target, negative_prompt(clip.source, categories or ()))


def describe(pipe: FaceEditPipeline, variant: Variant) -> dict[str, Any]:
    """Return a row's settings for the report; what each clip's categories scale is said in words."""
    described: dict[str, Any] = {
        **asdict(variant.apply(pipe.defaults_with(variant.direction))),
        **variant.branches,
    }
    for name in ("strength", "guidance_scale"):
        if name not in variant.settings:
            described[name] = f"the category's x {described[name]:g}"
    for name in ("low", "high"):
        if name not in variant.settings.get("composition", {}):
            described["composition"][name] = f"the category's x {described['composition'][name]:g}"
    if "until" not in variant.settings.get("injection", {}):
        described["injection"]["until"] = f"the category's x {described['injection']['until']:g}"
    return described
