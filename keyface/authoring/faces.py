"""Faces to try a category on, how they are edited, and what is measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from keyface.editing.frames import TensorFrames, TensorMasks
from keyface.editing.settings import EditSettings, Prompts
from keyface.faces.regions import everywhere, region_mask
from keyface.metrics.direction import direction_similarity
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render
from keyface.miniature.trials import FIRST_PERSON, FPS, find_person, render_trial
from keyface.models.judges import Judges, edit_success
from keyface.pictures import largest_square, resize_square
from keyface.plugins import Category, compose
from keyface.plugins.masks import are_held, free_masks
from keyface.video import open_video

if TYPE_CHECKING:
    from collections.abc import Collection

    from keyface.pipeline.pipeline import FaceEditPipeline


@dataclass(frozen=True)
class Face:
    """A few frames of one face that a category can be tried on.

    Attributes:
        name: Who, for the sheet.
        frames: (T, 3, S, S) in [-1, 1].
        prompts: Captions before and after the edit.
        free: (T, 1, S, S) in [0, 1], where the edit may change them; None for everywhere.
    """

    name: str
    frames: Tensor
    prompts: Prompts
    free: Tensor | None


def rendered_faces(category: Category, number: int, frames: int, size: int, seed: int) -> list[Face]:
    """Render held-out people of the miniature who lack the edit.

    Args:
        category: What will be edited.
        number: How many people.
        frames: T.
        size: S.
        seed: Of the clips.

    Raises:
        LookupError: Nobody can take the edit.
    """
    faces, identity = [], FIRST_PERSON - 1
    for _ in range(number):
        identity = find_person([category], identity + 1, seed)
        trial = render_trial(identity, [category], frames, size, seed)
        labels = render(draw_clip(identity, seed, frames, FPS), size).mask

        def find(names: Collection[str], labels: Tensor = labels) -> Tensor:
            found = region_mask(labels, names) if names else torch.ones_like(labels, dtype=torch.bool)
            return found[:, None].float()

        free = free_masks([category], trial.frames, find) if are_held([category]) else None
        faces.append(Face(f"{category.name} {identity - FIRST_PERSON}", trial.frames, trial.prompts, free))
    return faces


def photographed_faces(
    pipe: FaceEditPipeline, category: Category, photos: Sequence[Path], source: str | None
) -> list[Face]:
    """Read the first frames of photos, whose middle square shows the face.

    Args:
        pipe: What will edit; it captions the photos and finds regions where it can.
        category: What will be edited.
        photos: Stills or videos.
        source: What all of them show, in words; None leaves that to the captioner.

    Raises:
        FileNotFoundError: There is no such photo.
        ValueError: Nothing tells what a photo shows, or it cannot be read.
    """
    faces = []
    for photo in photos:
        if not photo.is_file():
            raise FileNotFoundError(f"--photos {photo}: no such file")
        whole = open_video(photo).frames([0])
        left, top, side = largest_square(0, 0, whole.shape[-1], whole.shape[-2])
        frames = resize_square(
            whole[..., top : top + side, left : left + side], pipe.backbone.image_size
        ).clamp(-1, 1)
        caption = source if source is not None else pipe.captioner(frames) if pipe.captioner else None
        if caption is None:
            raise ValueError('--source "..." is needed with these weights: say in words what the photos show')
        finder = pipe.regions or everywhere

        def find(names: Collection[str], frames: Tensor = frames, finder: Any = finder) -> Tensor:
            masks: Tensor = finder(frames, names)
            return masks

        free = free_masks([category], frames, find) if are_held([category]) else None
        faces.append(Face(photo.stem, frames, Prompts(*compose(caption, [category])), free))
    return faces


def edit_face(pipe: FaceEditPipeline, face: Face, settings: EditSettings) -> Tensor:
    """Edit a face, held to where it may change: (T, 3, S, S) in [-1, 1], on the CPU."""
    edited: list[Tensor] = []
    regions = None if face.free is None else TensorMasks(face.free)
    pipe.editor(settings).edit(TensorFrames(face.frames), face.prompts, edited.append, regions=regions)
    return torch.cat(edited)


@dataclass(frozen=True)
class Measured:
    """What edits of several faces are worth, on average.

    Attributes:
        success: In [0, 1]: by the category's judge or a classifier; without either by CLIP's direction; None
            where there is none of them.
        distance: Of the person to themselves, by recognizers, 0 to 2; None without any.
        change: Mean absolute change of the pictures, intensities in [0, 1].
    """

    success: float | None
    distance: float | None
    change: float

    @property
    def score(self) -> float:
        """Return success less distance: how much of the edit is there for how little of the person."""
        return (self.success or 0.0) - (self.distance or 0.0)


@torch.no_grad()
def measure(category: Category, faces: Sequence[Face], edits: Sequence[Tensor], judges: Judges) -> Measured:
    """Return what edits of faces are worth.

    Args:
        category: What was edited.
        faces: Before.
        edits: After, one for each.
        judges: Recognizers, a classifier and a CLIP pair, as far as there are any for these faces.
    """
    successes, distances, changes = [], [], []
    for face, edited in zip(faces, edits, strict=True):
        success = edit_success(judges.classifier, edited, category)
        if success is None and judges.image_text is not None:
            texts = judges.image_text.encode_text([face.prompts.target, face.prompts.source])
            after, before = (judges.image_text.encode_image(each) for each in (edited, face.frames))
            success = float(direction_similarity(after, before, texts[:1], texts[1:]).mean().clamp(min=0))
        successes += [] if success is None else [success]
        distances += [
            float(cosine_distance(embed_clip(each, edited), embed_clip(each, face.frames)))
            for each in judges.recognizers.values()
        ]
        changes.append(float((edited - face.frames).abs().mean()) / 2)
    return Measured(_mean(successes), _mean(distances), sum(changes) / len(changes))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
