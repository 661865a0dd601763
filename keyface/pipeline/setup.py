"""What an edit needs before it starts: categories, networks, prompts, settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keyface.pipeline.record import say

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from keyface.diffusion.backbone import Backbone
    from keyface.diffusion.solvers import Solver
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.square import SquareFrames
    from keyface.plugins.category import Category

MINIATURE_SETTINGS: Mapping[str, Any] = {"steps": 25, "guidance_scale": 3.5}
"""How the miniature edits where its settings differ from those of `EditSettings`. Categories ask for
multiples of the guidance scale; what becomes of 125 edits is in the README."""

MINIATURE_STRENGTH = 0.7
"""Of 24 faces .75 became old and .92 got glasses at .7, at distance .20 and .31 (20 steps). From .5 to .8 a
stronger edit with less guidance does about as well; categories ask for multiples."""

MINIATURE_INJECTION: Mapping[str, Any] = {"until": 1.0, "residual_until": 1.0}
"""To the last step, for edits that keep shapes. Residual features brought 15 clips nearer: .29 to .24."""


@dataclass(frozen=True)
class Models:
    """The networks of one edit.

    Attributes:
        backbone: Autoencoder, text encoder and untuned U-Net.
        identity: ε1; None is the untuned U-Net.
        direction: ε2; None is the untuned U-Net.
        is_miniature: Whether these are the networks that come with keyface.
        folders: What the user named: folders, files, or names of backbones.
    """

    backbone: Backbone
    identity: UNet2DConditionModel | None
    direction: UNet2DConditionModel | None
    is_miniature: bool
    folders: tuple[Path, ...]


def select_categories(edits: str | None, categories: Path | None) -> list[Category]:
    """Return the categories named in "a,b", of those that are installed or in a YAML file."""
    from keyface.plugins.registry import edits as installed

    registry = installed if categories is None else installed.with_yaml(categories)
    return registry.select([name.strip() for name in edits.split(",") if name.strip()]) if edits else []


def load_models(
    weights: Path | None, identity: Path | None, direction: Path | None, device: str | None
) -> Models:
    """Loads the given networks, or the miniature's where no backbone is given."""
    import torch

    from keyface.diffusion.backbone import load_unet
    from keyface.diffusion.precision import limit_kernel_cache
    from keyface.models.backbones import find_backbone

    limit_kernel_cache()
    if weights is None:
        from keyface.miniature import zoo

        say(
            "no --weights given: using the miniature, small networks that know keyface's rendered faces "
            "and no real ones"
        )
        backbone = zoo.backbone()
        branches = [
            load_unet(identity, backbone.unet) if identity else zoo.identity_unet(backbone.unet),
            load_unet(direction, backbone.unet) if direction else zoo.direction_unet(backbone.unet),
        ]
    else:
        backbone = find_backbone(str(weights))
        branches = [load_unet(folder, backbone.unet) if folder else None for folder in (identity, direction)]
        for name, branch in zip(("--identity", "--direction"), branches, strict=True):
            if branch is None:
                say(f"no {name} given: using the backbone's untuned U-Net in its place")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    moved = [branch.to(place) if branch is not None else None for branch in branches]
    folders = tuple(folder for folder in (weights, identity, direction) if folder is not None)
    return Models(backbone.to(place), moved[0], moved[1], weights is None, folders)


def write_prompts(
    chosen: list[Category],
    prompt: str | None,
    source: str | None,
    negative: str | None,
    frames: SquareFrames,
    models: Models,
) -> Prompts:
    """Finds the source caption, if it is not given, and writes the target from categories or prompt."""
    from keyface.editing.settings import Prompts
    from keyface.plugins.compose import compose

    if source is None:
        if not models.is_miniature:
            raise ValueError('--source "..." is needed with --weights: say in words what the clip shows now')
        source = caption(frames)
    target = prompt if prompt is not None else compose(source, chosen).target
    if target.strip() == source.strip():
        raise ValueError(f"nothing to change: the clip is taken for {source!r}; correct that with --source")
    return Prompts(source, target, negative)


def caption(frames: SquareFrames) -> str:
    """Returns the caption that fits a few frames taken together."""
    from keyface.miniature import zoo

    return zoo.caption_clip(few_frames(frames))


def surprise_of(frames: SquareFrames, models: Models) -> float | None:
    """Returns how foreign the clip is to the miniature; None for other weights."""
    if not models.is_miniature:
        return None
    from keyface.miniature.familiarity import surprise

    return float(surprise(models.backbone, few_frames(frames).to(models.backbone.device)).median())


def few_frames(frames: SquareFrames, looks: int = 5) -> Tensor:
    """Returns up to ``looks`` frames, spread evenly over the clip, (n, 3, S, S)."""
    import torch

    wanted = {round(index * (len(frames) - 1) / max(looks - 1, 1)) for index in range(looks)}
    images, start = [], 0
    for chunk in frames.chunks(16):
        images += [chunk[index - start] for index in sorted(wanted) if start <= index < start + len(chunk)]
        start += len(chunk)
    return torch.stack(images)


def check_prompts(prompts: Prompts, backbone: Backbone) -> None:
    """Warns of prompts that the text encoder cannot take in whole."""
    tokenizer = backbone.tokenizer
    for name, text in (("source", prompts.source), ("target", prompts.target)):
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > tokenizer.model_max_length:
            kept = tokenizer.decode(tokens[: tokenizer.model_max_length], skip_special_tokens=True)
            warnings.warn(f"{name} prompt is too long; only this much of it is used: {kept!r}", stacklevel=2)
        unknown = unknown_words(text, tokenizer)
        if unknown:
            warnings.warn(f"{name} prompt: the text encoder does not know {', '.join(unknown)}", stacklevel=2)


def unknown_words(text: str, tokenizer: Any) -> list[str]:
    """Returns the words, without punctuation, that the tokenizer has no token for."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
    return [word for word in words if unknown in tokenizer(word, verbose=False).input_ids]


def choose_settings(
    miniature: bool,
    chosen: list[Category],
    steps: int | None,
    solver: Solver,
    guidance: float | None,
    interval: int,
    propagation: Literal["tokens", "latent"],
    injection_until: float | None,
    strength: float | None,
    seed: int,
) -> EditSettings:
    """Fills in what was not given: the miniature's own settings, and what the categories ask for.

    Needs no weights, so that a value of no use is refused before they are read.
    """
    from keyface.editing.settings import Propagation

    shared = asked_settings(chosen, miniature, seed)
    return replace(
        shared,
        steps=steps if steps is not None else shared.steps,
        solver=solver,
        guidance_scale=guidance if guidance is not None else shared.guidance_scale,
        interval=interval,
        propagation=Propagation(mode=propagation),
        injection=shared.injection if injection_until is None else shared.injection.ended_at(injection_until),
        strength=strength if strength is not None else shared.strength,
    )


def asked_settings(chosen: list[Category], miniature: bool, seed: int) -> EditSettings:
    """Returns the default settings with what the categories ask for."""
    from keyface.plugins.category import Demands

    demands = Demands.of(chosen)
    strength = demands.strength * strength_factor(miniature)
    settings = default_settings(miniature, seed)
    return settings.asked(strength, demands.guidance, demands.injection, demands.reshapes)


def default_settings(miniature: bool, seed: int) -> EditSettings:
    """Returns what `edit`, `evaluate` and `benchmark` do where they are not told otherwise."""
    from keyface.editing.settings import EditSettings, Injection

    settings = EditSettings(seed=seed)
    if not miniature:
        return settings
    return replace(settings, injection=Injection(**MINIATURE_INJECTION), **MINIATURE_SETTINGS)


def strength_factor(miniature: bool) -> float:
    """Returns what the strength of an edit's categories is multiplied by where none is given."""
    return MINIATURE_STRENGTH if miniature else 1.0
