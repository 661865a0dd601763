"""Edits with known answers: held-out people, something that each lacks, and the exact truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from keyface.editing.settings import Prompts
from keyface.faces.regions import dilate, region_mask
from keyface.miniature.population.captions import write_captions
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.labels import CHANGEABLE, counterfactual, own_labels, true_labels
from keyface.miniature.population.parameters import Faces
from keyface.miniature.population.qualities import put_on_usual
from keyface.miniature.population.world import HELD_OUT, draw_faces
from keyface.miniature.rendering.renderer import render, render_flow
from keyface.plugins.category import Category
from keyface.plugins.compose import compose
from keyface.plugins.demands import free_regions

FPS = 12
"""Frames a second of the clips."""

FIRST_PERSON = HELD_OUT + 50_000
"""Trials take people from here on, clear of those that networks are validated and tuned on."""

_PATIENCE = 2_000
_VISIBLE = 0.02
_CHUNK = 16


@dataclass(frozen=True)
class Trial:
    """One edit of one clip and what is true of it.

    Attributes:
        identity: Id of the person.
        categories: What is to be edited, at once.
        prompts: The clip's true caption and the caption after the edit.
        frames: (T, 3, H, W) in [-1, 1].
        flow: (T - 1, 2, H, W) in pixels, exact, from each frame to the next.
        valid: (T - 1, H, W) bool, where the flow holds.
        region: (T, H, W) bool, where the categories may change the picture: their classes in the frame or in
            the same frame rendered with the edit, and whatever else the rendered edit changes, a little
            dilated.
        ground_truth: (T, 3, H, W), the same clip rendered with the edit. What it puts on is of the kind
            that a prompt without further words means.
    """

    identity: int
    categories: tuple[Category, ...]
    prompts: Prompts
    frames: Tensor
    flow: Tensor
    valid: Tensor
    region: Tensor
    ground_truth: Tensor

    @property
    def name(self) -> str:
        """The categories and the person, for files and tables."""
        return f"{'-'.join(category.name for category in self.categories)}-{self.identity - FIRST_PERSON}"


def render_trials(
    categories: Sequence[Category], number: int, frames: int, size: int, seed: int
) -> Iterator[Trial]:
    """Render people in order of their ids, each with the next category that they can take, in rotation.

    Args:
        categories: Given out in rotation, one a person.
        number: How many trials.
        frames: Frames of each clip.
        size: Rows and columns.
        seed: Of the clips.
    """
    identity = FIRST_PERSON - 1
    for category in islice(cycle(categories), number):
        identity = find_person([category], identity + 1, seed)
        yield render_trial(identity, [category], frames, size, seed)


def render_trial(
    identity: int,
    categories: Sequence[Category],
    frames: int,
    size: int,
    seed: int,
    fps: float = FPS,
    backwards: bool = False,
) -> Trial:
    """Render one person's clip with all its truth.

    Args:
        identity: Whose.
        categories: Edits to apply at once.
        frames: T.
        size: Rows and columns.
        seed: Of the clip.
        fps: Frames a second.
        backwards: Whether the frames are in the opposite order.
    """
    faces = draw_clip(identity, seed, frames, fps)
    if backwards:
        faces = faces[torch.arange(frames - 1, -1, -1)]
    edited = faces
    for category in categories:
        if category.attribute in CHANGEABLE:
            edited = counterfactual(edited, category.attribute, category.present)
    edited = put_on_usual(faces, edited)  # what the prompt means by "wearing glasses"
    before, after = _render(faces, size), _render(edited, size)
    pair = compose(write_captions(faces[:1])[0], categories)
    moved = [render_flow(faces[i : i + 1], faces[i + 1 : i + 2], size) for i in range(frames - 1)]
    return Trial(
        identity=identity,
        categories=tuple(categories),
        prompts=Prompts(*pair),
        frames=before[0],
        flow=torch.cat([each[0] for each in moved]) if moved else torch.zeros(0, 2, size, size),
        valid=torch.cat([each[1] for each in moved])
        if moved
        else torch.zeros(0, size, size, dtype=torch.bool),
        region=_free_region(before, after, free_regions(categories), radius=max(1, size // 32)),
        ground_truth=after[0],
    )


def find_person(
    categories: Sequence[Category], first: int, seed: int, also: Mapping[str, bool] | None = None
) -> int:
    """Find the next person whose clip of this seed can take all the edits.

    Args:
        categories: The edits.
        first: The id to begin with.
        seed: Of the clip.
        also: Further labels that the person must have.

    Raises:
        LookupError: Nobody among the next people can take them.
    """
    people = draw_faces(torch.arange(first, first + _PATIENCE), seed)
    labels = {**true_labels(people), **own_labels(people)}
    truth = {name: values.tolist() for name, values in labels.items()}
    for index in range(_PATIENCE):
        known = {name: bool(values[index]) for name, values in truth.items()}
        # Labels of a plugin's own that nobody can tell are taken as it needs them.
        fits = all(each.applies_to({each.attribute: not each.present, **known}) for each in categories)
        if fits and all(known[name] == value for name, value in (also or {}).items()):
            return first + index
    names = ", ".join(category.name for category in categories)
    raise LookupError(f"nobody among {_PATIENCE} people of the miniature can be edited with {names} at once")


def _render(faces: Faces, size: int) -> tuple[Tensor, Tensor]:
    """Render images (T, 3, H, W) and label maps (T, H, W)."""
    parts = [render(faces[start : start + _CHUNK], size) for start in range(0, len(faces), _CHUNK)]
    return torch.cat([part.image for part in parts]), torch.cat([part.mask for part in parts])


def _free_region(
    before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], names: Collection[str], radius: int
) -> Tensor:
    """Mark where the picture may change, (T, H, W) bool; everywhere without names.

    Args:
        before: Images and label maps.
        after: The same with the edit. What it changes may change, also outside its classes: stubble has the
            hair's colour.
        names: The categories' classes.
        radius: By which the classes' pixels and those that change are dilated.
    """
    if not names:
        return torch.ones_like(before[1], dtype=torch.bool)
    changed = (after[0] - before[0]).abs().amax(dim=1) > _VISIBLE
    return dilate(region_mask(before[1], names) | region_mask(after[1], names) | changed, radius)
