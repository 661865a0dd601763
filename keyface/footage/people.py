"""People in a video, and how one of them is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from keyface.faces.alignment import sane_landmarks
from keyface.faces.face import Looks
from keyface.faces.squares import detector_squares
from keyface.video import read_still

if TYPE_CHECKING:
    from keyface.models.finders import FaceSuite

SMALL_PIXELS = 32.0
TURNED = 0.28
"""Distance of the nose from the middle of the eyes, in distances of the eyes: .5 is a profile."""

_DOUBTFUL_SHARE = 0.5

_RIVAL_SHARE = 0.6
"""Of the largest face's side: a smaller one on a photo is somebody in the background."""


@dataclass(frozen=True)
class Segment:
    """One person's face in consecutive frames of one shot.

    Attributes:
        first: Number of the first frame.
        seconds: Time of the first and of the last frame.
        landmarks: (n, 5, 2) pixels (x, y); between finds they are interpolated.
        boxes: (n, 4) pixels: left, top, right, bottom, as the finder draws them; likewise.
        found: (n,) bool, whether a face was found there.
        size: (height, width) of the frames.
    """

    first: int
    seconds: tuple[float, float]
    landmarks: Tensor
    boxes: Tensor
    found: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def stop(self) -> int:
        """Return the number of the frame after the last."""
        return self.first + len(self)

    @property
    def sides(self) -> Tensor:
        """Return how large the face is in each frame, (n,) pixels."""
        return detector_squares(self.landmarks)[:, 2]

    def doubts(self) -> list[str]:
        """Say what speaks against editing this face: small, turned away, cut by the border."""
        side = float(self.sides.median())
        height, width = self.size
        outside = (self.landmarks < 0) | (self.landmarks > torch.tensor([width, height]))
        found = []
        if side < SMALL_PIXELS:
            found.append(f"the face is {side:.0f} pixels large, too small below {SMALL_PIXELS:.0f}")
        if _share(turned_by(self.landmarks) > TURNED) > _DOUBTFUL_SHARE:
            found.append("the face is turned away")
        if _share(outside.any(dim=2).sum(dim=1) > 1) > _DOUBTFUL_SHARE:
            found.append("the face is cut by the border of the frame")
        return found


@dataclass(frozen=True)
class Person:
    """Somebody who is seen in a video.

    Attributes:
        number: 1 is who is seen most.
        segments: When and where, by time.
        looks: What a network guesses of them; None where it says nothing.
        embedding: Unit vector (D,); None where nobody was embedded.
    """

    number: int
    segments: tuple[Segment, ...]
    looks: Looks | None = None
    embedding: Tensor | None = None

    @property
    def frames(self) -> int:
        """Return in how many frames they are seen."""
        return sum(len(segment) for segment in self.segments)

    @property
    def seconds(self) -> tuple[float, float]:
        """Return when they are first and last seen."""
        return self.segments[0].seconds[0], self.segments[-1].seconds[1]

    @property
    def side(self) -> float:
        """Return how large the face usually is, pixels."""
        return float(torch.cat([segment.sides for segment in self.segments]).median())


@dataclass(frozen=True)
class Footage:
    """What is known of a video.

    Attributes:
        size: (height, width) of the frames.
        seconds: (T,) time of each frame, from 0.
        shots: Numbers of the first frames of all shots, 0 among them.
        people: By number.
        finder: Name of what found the faces.
    """

    size: tuple[int, int]
    seconds: Tensor
    shots: tuple[int, ...]
    people: tuple[Person, ...]
    finder: str

    @property
    def frames(self) -> int:
        """Return the number of frames."""
        return len(self.seconds)

    def without_face(self) -> list[tuple[float, float]]:
        """Return the times, first and last frame, at which nobody is seen."""
        seen = torch.zeros(self.frames, dtype=torch.bool)
        for person in self.people:
            for segment in person.segments:
                seen[segment.first : segment.stop] = True
        spans = []
        start = None
        for frame, here in enumerate([*seen.tolist(), True]):
            if not here and start is None:
                start = frame
            elif here and start is not None:
                spans.append((float(self.seconds[start]), float(self.seconds[frame - 1])))
                start = None
        return spans

    def choose(self, who: str, suite: FaceSuite) -> list[Person]:
        """Return the people that are meant.

        Args:
            who: A number, `largest`, `longest`, `all`, or the path of a photo of one of them.
            suite: Found and embedded the faces; looks at the photo.

        Raises:
            ValueError: There is nobody like that.
        """
        if who == "all":
            return list(self.people)
        if who == "longest":
            return [self.people[0]]
        if who == "largest":
            return [max(self.people, key=lambda person: person.side)]
        if who.isdecimal():
            for person in self.people:
                if person.number == int(who):
                    return [person]
            raise ValueError(f"there is no person {who}; {self._there_are()}")
        return [self.like(Path(who), embedding_on(Path(who), suite), suite.same_person)]

    def like(self, photo: Path, embedding: Tensor, same_person: float) -> Person:
        """Return who looks most like the person on a photo.

        Args:
            photo: The photo, for messages.
            embedding: Of the face on it, (D,).
            same_person: Least cosine similarity of one person's faces.

        Raises:
            ValueError: Nobody does.
        """
        own = embedding
        known = [person for person in self.people if person.embedding is not None]
        likeness = [float(own @ person.embedding) for person in known if person.embedding is not None]
        if not likeness or max(likeness) < same_person:
            best = f"the nearest is person {known[int(np.argmax(likeness))].number}" if likeness else "nobody"
            value = f" with a similarity of {max(likeness):.2f}, needed is {same_person:.2f}"
            raise ValueError(f"{photo}: shows nobody in this video; {best}{value if likeness else ''}")
        return known[int(np.argmax(likeness))]

    def _there_are(self) -> str:
        if len(self.people) == 1:
            return "there is one, number 1"
        return f"there are {len(self.people)}, from 1 to {len(self.people)}"


def embedding_on(photo: Path, suite: FaceSuite) -> Tensor:
    """Return the embedding (D,) of the person on a photo: of its largest face.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture, shows no face, or several people of about the same size.
    """
    image = read_still(photo)
    faces = [face for face in suite.finder.find(image[None])[0] if bool(sane_landmarks(face.landmarks[None]))]
    if not faces:
        raise ValueError(f"{photo}: no face found in it; give a photo that shows one person clearly")
    points = torch.stack([face.landmarks.float() for face in faces])
    sides = detector_squares(points)[:, 2]
    rivals = int((sides > _RIVAL_SHARE * sides.max()).sum())
    if rivals > 1:
        raise ValueError(
            f"{photo}: shows {rivals} faces of about the same size; give a photo of one person, or cut it"
        )
    with torch.no_grad():
        embedding: Tensor = suite.recognizer(image[None], points[sides.argmax()][None])[0]
    return embedding


def turned_by(landmarks: Tensor) -> Tensor:
    """Return how far heads (n, 5, 2) are turned aside: 0 looks at the camera, .5 is about a profile."""
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    across = right - left
    length = across.square().sum(dim=1).clamp_min(1e-6)
    return (((nose - (left + right) / 2) * across).sum(dim=1) / length).abs()


def number_people(people: Sequence[Person]) -> tuple[Person, ...]:
    """Give people their numbers: by how long they are seen, then by how early."""
    order = sorted(people, key=lambda person: (-person.frames, person.segments[0].first))
    return tuple(
        Person(number, person.segments, person.looks, person.embedding)
        for number, person in enumerate(order, start=1)
    )


def _share(flags: Tensor) -> float:
    return float(flags.float().mean())
