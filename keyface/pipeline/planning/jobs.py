"""What is edited in a video: each clip of a face with its words, its settings and its editor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from keyface.faces.crops import Border
from keyface.faces.regions import RegionMasks, everywhere
from keyface.footage.crops import crops_at
from keyface.pictures import spread
from keyface.pipeline.additions import require_partners
from keyface.pipeline.output.record import strangeness
from keyface.pipeline.planning.face_clips import FIXED
from keyface.pipeline.planning.prompts import warn_of_prompts, write_prompts
from keyface.plugins.masks import are_held, free_masks

if TYPE_CHECKING:
    from keyface.editing.editor import VideoEditor
    from keyface.editing.frames import FrameStream, MaskStream
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.face_clips import FaceClip
    from keyface.pipeline.planning.plan import Plan
    from keyface.pipeline.request.request import VideoRequest
    from keyface.video import VideoReader

_LOOKS = 5
"""Frames of a clip that captioners and the familiarity look at."""


@dataclass(frozen=True)
class Job:
    """The edit of one clip.

    Attributes:
        clip: Which frames and squares.
        prompts: Its words.
        settings: How it is edited.
        editor: What edits it.
        surprise: How foreign its face is to the model; None where nothing tells.
    """

    clip: FaceClip
    prompts: Prompts
    settings: EditSettings
    editor: VideoEditor
    surprise: float | None


def make_jobs(
    pipe: FaceEditPipeline, request: VideoRequest, plan: Plan, say: Callable[[str], None]
) -> list[Job]:
    """Decide words and settings of every clip, and say what a user should know before the edit begins.

    Raises:
        ValueError: A source caption is needed, or nothing would change.
    """
    require_partners(pipe.additions, request)
    face = None
    if pipe.added.face_adapter is not None and plan.reference is not None:
        face = pipe.added.face_adapter.reference(plan.reference)
    for note in plan.notes:
        say(note)
    jobs, strange = [], False
    looks = look_at(request.reader, plan.clips, pipe.backbone.image_size, request.framing.border)
    for clip, frames in zip(plan.clips, looks, strict=True):
        surprise = None if pipe.familiarity is None else pipe.familiarity.of(pipe.backbone, frames)
        doubt = strangeness(pipe.familiarity, surprise)
        if doubt is not None and not strange:
            say(f"warning: {doubt}")
            strange = True
        # A captioner knows the faces that its backbone knows, and describes strangers at random.
        captioner = pipe.captioner if plan.own_finder or doubt is None else None
        prompts = write_prompts(request, clip.categories, frames, captioner, clip.looks)
        warn_of_prompts(prompts, pipe.backbone.tokenizer)
        settings = pipe.settings_for(clip.categories).with_values(request.settings)
        say(f"source: {prompts.source}\ntarget: {prompts.target}")
        jobs.append(Job(clip, prompts, settings, pipe.editor(settings).changed(face=face), surprise))
    return jobs


def look_at(
    reader: VideoReader, clips: Sequence[FaceClip], size: int, border: Border = "mirror"
) -> list[Tensor]:
    """Return a few crops of each clip, spread evenly over it, (n, 3, size, size) in [-1, 1]."""
    places = [[(clip.first + row, clip.squares[row]) for row in spread(len(clip), _LOOKS)] for clip in clips]
    return crops_at(reader, places, size, border)


def held_to(pipe: FaceEditPipeline, clip: FaceClip, crops: FrameStream) -> MaskStream | None:
    """Return the regions that the edit of a clip is held to; None where all of the crop may change.

    In a fixed square a face may lie anywhere: networks for crops of faces would look in the wrong place.
    """
    categories, source = clip.categories, pipe.regions
    masks = any(category.mask is not None for category in categories)
    if clip.person == FIXED or not are_held(categories) or (source is None and not masks):
        return None
    find = everywhere if source is None else source
    return RegionMasks(crops, lambda part: free_masks(categories, part, lambda names: find(part, names)))
