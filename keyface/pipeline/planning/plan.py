"""Who is edited where in a video: found before any weights of the model are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keyface.pipeline.additions import reference_embedding
from keyface.pipeline.planning.face_clips import FaceClip, face_clips, fixed_clips
from keyface.pipeline.planning.space import check_space

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from keyface.editing.editor import Progress
    from keyface.faces.crops import Placement
    from keyface.footage import Footage, Person
    from keyface.models.finders import FaceSuite
    from keyface.pipeline.request.request import VideoRequest
    from keyface.plugins import Category

FindFaces = Callable[[], "FaceSuite"]


@dataclass(frozen=True)
class Plan:
    """Name the faces of a video that are edited.

    Attributes:
        clips: What is edited as a clip of its own each, by person and time.
        footage: Who is where; None where a fixed square is edited.
        finder: Name of what found the faces; None likewise.
        own_finder: Whether that came along with the weights and so knows the faces that they know.
        untouched: Frames in which nothing is edited.
        notes: What a user may want to know before the edit, a line each.
        reference: Embedding (1, E) of the face on the request's photo; None without a photo.
    """

    clips: tuple[FaceClip, ...]
    footage: Footage | None
    finder: str | None
    own_finder: bool
    untouched: int
    notes: tuple[str, ...]
    reference: Tensor | None = None


def make_plan(
    request: VideoRequest,
    own_finder: FindFaces | None,
    placement: Placement,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    *,
    strict: bool = False,
) -> Plan:
    """Find the faces of a video and choose those that are edited.

    Args:
        request: Which video, and who.
        own_finder: What finds faces for these weights; None where they come without.
        placement: How the model wants a face to lie in its pictures.
        progress: Called with `find`, frames done and frames to do.
        device: Where networks that find real faces run.
        strict: Refuse, instead of warn, where onnxruntime does not use the device.

    Raises:
        MissingWeightsError: Nothing that finds real faces is here.
        ValueError: There is no face, or no such person, or the disk cannot hold the output, or `strict`.
    """
    if request.output is not None and request.preview is None:
        check_space(request, request.reader)
    reference = reference_embedding(request, own_finder)
    if request.square is not None:
        return Plan(tuple(fixed_clips(request)), None, None, False, 0, (), reference)
    from keyface.footage import embedding_on, scan
    from keyface.models.finders import find_suite

    own = request.finder is None and own_finder is not None
    if own and own_finder is not None:
        suite = own_finder()
    else:
        suite = find_suite(request.finder or "auto", device, strict=strict)
    reader = request.reader
    # Before the video is looked through, which takes long.
    photos = {who: embedding_on(Path(who), suite) for who in request.casting.photos}
    footage = scan(reader, suite, progress)
    if not footage.people:
        raise ValueError(
            f"{request.video}: no face in its {footage.frames} frames (looked for {suite.finder.knows} "
            f"with {suite.name}); choose another --finder, or give the square to edit by --crop x,y,size"
        )
    people = [
        (person, categories)
        for who, categories in request.casting.roles.items()
        for person in (
            [footage.like(Path(who), photos[who], suite.same_person)]
            if who in photos
            else footage.choose(who, suite)
        )
    ]
    clips = face_clips(request, footage, people, placement)
    covered = {frame for clip in clips for frame in range(clip.first, clip.stop)}
    untouched = footage.frames - len(covered)
    notes = tuple(_notes(footage, people, clips, untouched))
    return Plan(tuple(clips), footage, suite.name, own, untouched, notes, reference)


def _notes(
    footage: Footage,
    people: Sequence[tuple[Person, Sequence[Category]]],
    clips: Sequence[FaceClip],
    untouched: int,
) -> list[str]:
    notes = []
    chosen = {person.number for person, _ in people}
    others = [str(person.number) for person in footage.people if person.number not in chosen]
    if others:
        edited, left = ", ".join(map(str, sorted(chosen))), ", ".join(others)
        notes.append(
            f"editing person {edited}; {'person' if len(others) == 1 else 'people'} {left} left as they are "
            "(`keyface faces` shows who is who, --person chooses)"
        )
    notes += [f"warning: {doubt}" for clip in clips for doubt in clip.doubts]
    in_clips = {(clip.person, clip.first) for clip in clips}
    for person, _ in people:
        for segment in person.segments:
            if (person.number, segment.first) not in in_clips:
                first, last = segment.seconds
                notes.append(
                    f"person {person.number} is left alone at {first:.2f}-{last:.2f} s: "
                    f"{'; '.join(segment.doubts())}"
                )
    if untouched:
        notes.append(f"{untouched} of {footage.frames} frames show no face to edit, and stay as they are")
    return notes
