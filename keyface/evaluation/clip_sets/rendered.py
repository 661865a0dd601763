"""The evaluation's clips on the miniature: held-out people, what each lacks, and the ground truth."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import (
    EDITS,
    GroundTruth,
    ground_truth_path,
    write_ground_truth,
)
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.files import sha256, write_text
from keyface.metrics.locality import person_mask
from keyface.miniature.population.captions import write_captions
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering.renderer import render, render_images
from keyface.miniature.trials import FIRST_PERSON, FPS, find_person, render_trial
from keyface.plugins import Category, edits
from keyface.plugins.compose import compose
from keyface.progress import each
from keyface.untrusted import UntrustedError, read_json_object
from keyface.video import Encoding, VideoWriter

CATEGORIES = "beard,glasses,old,smile,blond-hair"
"""Those of the goals: beard, glasses, age, smile and hair colour."""

NAME = "miniature"
"""The protocol's name."""

_QUALITY = 8  # x264's crf, closer to the rendering than the writer's usual 16
_CHUNK = 16
_PUT_ON = {"put_on": "the usual kind"}  # until November 2026 rendered edits put on glasses of any kind
_COMMENT = "A face that does not exist, rendered by keyface's miniature."


@dataclass(frozen=True)
class RenderedProtocol:
    """What decides a rendered clip set.

    Attributes:
        edits: Categories separated by commas, given to people in rotation; several for one clip are joined
            by "+", as in "glasses,beard+smile".
        edited: How many clips are edited, each of another held-out person who lacks what is asked for.
        gallery: How many clips of further people the gallery holds.
        frames: Frames of each edited clip.
        gallery_frames: Frames of each further clip; None is as many.
        size: Rows and columns.
        fps: Frames a second.
        seed: Of the clips.
    """

    edits: str = CATEGORIES
    edited: int = 125
    gallery: int = 1000
    frames: int = 16
    gallery_frames: int | None = None
    size: int = 256
    fps: int = FPS
    seed: int = 0

    def __post_init__(self) -> None:
        shortest = self.frames if self.gallery_frames is None else min(self.frames, self.gallery_frames)
        if self.edited < 1 or self.gallery < 0 or shortest < 1:
            raise ValueError(
                f"{self.edited} edited clips of {self.frames} frames, {self.gallery} more of "
                f"{shortest}: at least one edited clip and one frame each, please"
            )
        if self.size < 16 or self.size % 2 or not 1 <= self.fps <= 120:
            raise ValueError(
                f"{self.size} pixels at {self.fps} fps: an even side from 16 on, 1 to 120 fps, please"
            )

    def groups(self) -> list[list[Category]]:
        """Return the edits that are asked for at once, one list a turn of the rotation."""
        names = [[name.strip() for name in group.split("+")] for group in self.edits.split(",")]
        return [list(edits.select(group)) for group in names]


def render_clip_set(folder: Path, protocol: RenderedProtocol | None = None) -> ClipSet:
    """Render a clip set with its ground truth and write its `protocol.json`.

    The folder then holds `clips/<key>.mp4`, for edited clips also `truth/<key>.safetensors` and
    `rendered/<key>.mp4`, and `protocol.json`. Called again with the same protocol after it was stopped, it
    goes on where it was.

    Args:
        folder: Where to; made if need be.
        protocol: What to render.

    Raises:
        ValueError: The folder holds a set of another protocol.
        LookupError: A category is unknown, or too few people lack what is asked for.
    """
    protocol = protocol or RenderedProtocol()
    groups = protocol.groups()
    _claim(folder, protocol)
    people = each(_people(groups, protocol), "render edited clips", total=protocol.edited)
    queries = tuple(_edited(folder, protocol, group, identity) for group, identity in people)
    others = range(FIRST_PERSON - protocol.gallery, FIRST_PERSON)
    gallery = tuple(_further(folder, protocol, identity) for identity in each(others, "render gallery"))
    options = " ".join(f"{name}={value}" for name, value in asdict(protocol).items())
    clips = ClipSet(NAME, protocol.seed, f"keyface.evaluation.rendered {options}", queries, gallery, folder)
    clips.write(folder / "protocol.json")
    return clips


def _claim(folder: Path, protocol: RenderedProtocol) -> None:
    """Say in the folder what it is for, so that two protocols never share files."""
    path = folder / "recipe.json"
    wanted = json.loads(json.dumps(asdict(protocol) | _definitions(protocol) | _PUT_ON))
    if not path.is_file():
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = read_json_object(path)
    except UntrustedError as error:
        raise ValueError(
            f"{path}: not what `keyface evaluate` wrote there ({error}); choose another folder"
        ) from error
    odd = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    if odd:
        told = ", ".join(_told(name, found, wanted) for name in odd)
        raise ValueError(f"{folder}: holds clips of another protocol: {told}; choose another folder")


def _told(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in what a recipe differs from the one that is wanted."""
    if name not in found:
        return f"{name} is missing, {wanted[name]!r} is wanted"
    return f"{name} is {found[name]!r} and not {wanted.get(name)!r}"


def _definitions(protocol: RenderedProtocol) -> dict[str, Any]:
    """Return what decides the clips of edits that do not come with keyface: their files can change."""
    decide = ("targets", "source", "attribute", "present", "regions")
    own = {
        category.name: {name: getattr(category, name) for name in decide}
        for category in chain.from_iterable(protocol.groups())
        if edits.origin(category.name) != "keyface"
    }
    return {"categories": own} if own else {}


def _people(
    groups: Sequence[list[Category]], protocol: RenderedProtocol
) -> Iterator[tuple[list[Category], int]]:
    identity = FIRST_PERSON - 1
    for group in islice(cycle(groups), protocol.edited):
        identity = find_person(group, identity + 1, protocol.seed)
        yield group, identity


def _edited(folder: Path, protocol: RenderedProtocol, group: list[Category], identity: int) -> ClipSpec:
    names = [category.name for category in group]
    prompts = compose(write_captions(draw_clip(identity, protocol.seed, 1, protocol.fps))[0], group)
    clip = replace(
        _spec(protocol, f"{'-'.join(names)}-{identity - FIRST_PERSON:04d}", identity, protocol.frames),
        category="+".join(names),
        source=prompts.source,
        target=prompts.target,
    )
    original, edit = folder / clip.video, folder / EDITS / f"{clip.key}.mp4"
    if not all(path.is_file() for path in (original, edit, ground_truth_path(folder, clip))):
        truth = render_trial(identity, group, protocol.frames, protocol.size, protocol.seed, protocol.fps)
        faces = draw_clip(identity, protocol.seed, protocol.frames, protocol.fps)
        labels = torch.cat([render(part, protocol.size).mask for part in _parts(faces)])
        write_ground_truth(
            folder, clip, GroundTruth(truth.flow, truth.valid, truth.region, person_mask(labels))
        )
        _write(edit, [truth.ground_truth], protocol)
        _write(original, [truth.frames], protocol)
    return replace(clip, sha256=sha256(original))


def _further(folder: Path, protocol: RenderedProtocol, identity: int) -> ClipSpec:
    frames = protocol.frames if protocol.gallery_frames is None else protocol.gallery_frames
    clip = _spec(protocol, f"gallery-{FIRST_PERSON - identity:05d}", identity, frames)
    path = folder / clip.video
    if not path.is_file():
        faces = draw_clip(identity, protocol.seed, frames, protocol.fps)
        _write(path, (render_images(part, protocol.size) for part in _parts(faces)), protocol)
    return replace(clip, sha256=sha256(path))


def _spec(protocol: RenderedProtocol, key: str, identity: int, frames: int) -> ClipSpec:
    """Return a clip that is only looked up, its file not yet hashed."""
    return ClipSpec(
        key=key,
        video=f"clips/{key}.mp4",
        sha256=None,
        start=0.0,
        frames=frames,
        fps=protocol.fps,
        size=protocol.size,
        category=None,
        source=None,
        target=None,
        identity=str(identity),
    )


def _parts(faces: Faces) -> Iterator[Faces]:
    return (faces[start : start + _CHUNK] for start in range(0, len(faces), _CHUNK))


def _write(path: Path, chunks: Iterable[Tensor], protocol: RenderedProtocol) -> None:
    encoding = Encoding(quality=_QUALITY)
    with VideoWriter(path, fps=protocol.fps, metadata={"comment": _COMMENT}, encoding=encoding) as writer:
        for chunk in chunks:
            writer.write(chunk)
