"""What is edited as a clip of its own: one person's face, from coming into view to a cut or to leaving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from keyface.faces.crops import cut, fades, smooth_squares
from keyface.pictures import from_uint8, to_uint8

if TYPE_CHECKING:
    from keyface.faces.crops import Border, Placement
    from keyface.faces.face import Looks
    from keyface.footage import Footage, Person, Segment
    from keyface.pipeline.request.request import VideoRequest
    from keyface.plugins import Category
    from keyface.video import VideoReader

FIXED = 0
"""Stands for the number of a person where a fixed square is edited."""


@dataclass(frozen=True)
class FaceClip:
    """Consecutive frames of one shot in which one face is edited.

    Attributes:
        person: Number of the person; `FIXED` for a fixed square.
        categories: What is edited in them; none with a prompt.
        first: Number of the first frame.
        squares: (n, 4), the oriented square of each frame (`keyface.faces.crops`).
        presence: (n,) in [0, 1], how much of the edit shows: it fades in and out where the face does.
        looks: What is seen in the face.
        doubts: What speaks against editing this face, in words.
    """

    person: int
    categories: tuple[Category, ...]
    first: int
    squares: Tensor
    presence: Tensor
    looks: Looks | None = None
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def stop(self) -> int:
        """Return the number of the frame after the last."""
        return self.first + len(self)

    def within(self, first: int, stop: int) -> slice:
        """Return which of its own frames lie among the frames [first, stop) of the video."""
        return slice(max(first - self.first, 0), max(min(stop, self.stop) - self.first, 0))


def fixed_clips(request: VideoRequest) -> list[FaceClip]:
    """Return the one clip of a fixed square: all frames, whatever they show."""
    assert request.square is not None
    frames = len(request.reader)
    (categories,) = request.casting.roles.values()
    return [FaceClip(FIXED, categories, 0, request.square.squares(frames), torch.ones(frames))]


def face_clips(
    request: VideoRequest,
    footage: Footage,
    people: Sequence[tuple[Person, Sequence[Category]]],
    placement: Placement,
) -> list[FaceClip]:
    """Return the clips of the chosen people.

    Args:
        request: Says what is done with doubtful faces.
        footage: Who is where.
        people: Who is edited, and how.
        placement: How the model wants a face to lie in its pictures.

    Raises:
        ValueError: Nothing is left to edit.
    """
    seconds = footage.seconds
    placement = replace(placement, margin=placement.margin * request.framing.margin)
    clips = []
    for person, categories in people:
        for segment in person.segments:
            doubts = segment.doubts()
            if doubts and request.doubtful == "leave":
                continue
            squares = smooth_squares(
                placement.squares(segment.landmarks, request.reader.pixel_aspect),
                seconds[segment.first : segment.stop],
            )
            clips.append(
                FaceClip(
                    person.number,
                    tuple(categories),
                    segment.first,
                    squares,
                    _presence(segment, footage),
                    person.looks,
                    tuple(doubts),
                )
            )
    if not clips:
        segments = [segment for person, _ in people for segment in person.segments]
        why = "; ".join(dict.fromkeys(doubt for segment in segments for doubt in segment.doubts()))
        raise ValueError(
            f"{request.video}: every face that was chosen is doubtful ({why}), and --doubtful leave is "
            "given; nothing is left to edit"
        )
    return clips


def _presence(segment: Segment, footage: Footage) -> Tensor:
    """Fade in and out, but not where the shot begins or ends."""
    borders = {0, footage.frames, *footage.shots}
    return fades(
        footage.seconds[segment.first : segment.stop],
        begins=segment.first not in borders,
        ends=segment.stop not in borders,
    )


class CropFrames:
    """The crops of a clip, kept as 8-bit pixels: what the editor reads, as often as it needs.

    Args:
        pixels: (n, 3, S, S) uint8.
        rows: Which of them, in which order; None is all.
    """

    def __init__(self, pixels: Tensor, rows: Sequence[int] | None = None) -> None:
        self.pixels, self.rows = pixels, range(len(pixels)) if rows is None else rows
        self.height = self.width = pixels.shape[-1]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.rows)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield (n, 3, S, S) in [-1, 1], n ≤ size."""
        for start in range(0, len(self.rows), size):
            yield from_uint8(self.pixels[list(self.rows[start : start + size])])


def cut_crops(
    reader: VideoReader, clips: Sequence[tuple[FaceClip, Tensor]], border: Border = "mirror"
) -> None:
    """Cut the crops of all clips out of a video, which is read once.

    Args:
        reader: The video.
        clips: Each with its pixels (n, 3, S, S) uint8, which are filled.
        border: What lies beyond the frame.
    """
    first = 0
    for frames in reader.chunks(reader.at_once()):
        stop = first + len(frames)
        for clip, pixels in clips:
            rows = clip.within(first, stop)
            if rows.start < rows.stop:
                shown = frames[rows.start + clip.first - first : rows.stop + clip.first - first]
                size = pixels.shape[-1]
                pixels[rows] = to_uint8(cut(shown, clip.squares[rows], size, border, reader.pixel_aspect))
        first = stop
