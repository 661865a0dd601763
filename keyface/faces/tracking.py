"""Faces followed from frame to frame: which of those in a frame is which of those before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_iou

from keyface.faces.face import Face

BRIDGED_SECONDS = 0.5
"""Longest time that a face may be out of sight before its track ends."""

LEAST_SECONDS = 0.2
"""Shorter tracks are taken for false finds, unless the shot itself is shorter."""

_REACH = 1.0
"""Sides of its box that a face may move from where it is expected."""

_IMPOSSIBLE = 1e6
_WEIGHT_OF_IDENTITY = 2.0
_GROWN, _SHRUNK = 1.6, 1 / 1.6
_MOMENTUM = 0.5
_EXPIRES = 0.9
"""Share of a track's velocity that is believed after each frame without a find."""


@dataclass
class Track:
    """One face in consecutive frames of one shot.

    Attributes:
        frames: Numbers of the frames in which it was found, ascending.
        faces: What was found there, without dense landmarks, which would fill the memory in a long video.
        embeddings: Unit vectors (D,) by frame, of some of them.
    """

    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    embeddings: dict[int, Tensor] = field(default_factory=dict)
    _velocity: Tensor | None = None

    def expected(self, frame: int) -> Tensor:
        """Return where its box (4,) should be in a frame, by its last one and how it moved."""
        box = self.faces[-1].box.float()
        if self._velocity is None:
            return box
        missed = frame - self.frames[-1]
        travelled = sum(_EXPIRES**step for step in range(missed))
        return box + self._velocity.repeat(2) * travelled

    def add(self, frame: int, face: Face) -> None:
        """Go on with a find."""
        if self.faces:
            step = (_middle(face.box) - _middle(self.faces[-1].box)) / (frame - self.frames[-1])
            self._velocity = step if self._velocity is None else torch.lerp(self._velocity, step, _MOMENTUM)
        self.frames.append(frame)
        # Copies: a finder's tensors may be small parts of large ones, which would be kept as well.
        self.faces.append(Face(face.box.clone(), face.score, face.landmarks.clone()))

    def embedding(self) -> Tensor | None:
        """Return the mean of what is known, a unit vector (D,); None where nothing is."""
        if not self.embeddings:
            return None
        return torch.nn.functional.normalize(torch.stack(list(self.embeddings.values())).mean(0), dim=0)


class Tracker:
    """Assigns the faces of each frame to those of the frames before, by place, motion and identity.

    Nothing crosses a cut. A track ends when its face was out of sight for `BRIDGED_SECONDS`.

    Args:
        fps: Frames per second, about.
        same_person: Least cosine similarity of two embeddings of one person.
    """

    def __init__(self, fps: float, same_person: float) -> None:
        self.bridged = max(int(BRIDGED_SECONDS * fps), 1)
        self.least = LEAST_SECONDS * fps
        self.same_person = same_person
        self._active: list[Track] = []
        self._ended: list[Track] = []
        self._frame = 0
        self._began = 0

    @property
    def active(self) -> Sequence[Track]:
        """Return the tracks that may go on."""
        return self._active

    def ambiguous(self, faces: Sequence[Face]) -> bool:
        """Tell whether places alone may confuse faces.

        Two of them are near one another, or somebody comes, leaves, or comes back.

        Args:
            faces: Of the next frame.
        """
        if len(faces) != len(self._active):
            return True
        if len(faces) < 2 and all(track.frames[-1] == self._frame - 1 for track in self._active):
            return False
        boxes = torch.stack([_grow(face.box.float()) for face in faces])
        near = box_iou(boxes, boxes).fill_diagonal_(0).gt(0).any()
        missed = any(track.frames[-1] < self._frame - 1 for track in self._active)
        return bool(near) or missed

    def add(self, faces: Sequence[Face], embeddings: Sequence[Tensor | None] | None = None) -> list[Track]:
        """Take in the next frame.

        Args:
            faces: That were found in it.
            embeddings: A unit vector (D,) of each, or None where there is none.

        Returns:
            The track of each face, now with it.
        """
        known = list(embeddings) if embeddings is not None else [None] * len(faces)
        chosen: list[Track | None] = [None] * len(faces)
        if faces and self._active:
            cost = self._cost(faces, known)
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if cost[row, column] < _IMPOSSIBLE:
                    chosen[column] = self._active[row]
        tracks = []
        for face, embedding, track in zip(faces, known, chosen, strict=True):
            if track is None:
                track = Track()
                self._active.append(track)
            track.add(self._frame, face)
            if embedding is not None:
                track.embeddings[self._frame] = embedding
            tracks.append(track)
        self._frame += 1
        gone = [track for track in self._active if self._frame - 1 - track.frames[-1] > self.bridged]
        self._ended += gone
        self._active = [track for track in self._active if all(track is not each for each in gone)]
        return tracks

    def cut(self) -> None:
        """End all tracks: the next frame begins another shot."""
        self._end_shot()
        self._began = self._frame

    def finish(self) -> list[Track]:
        """Return all tracks that are long enough, by their first frame."""
        self._end_shot()
        return sorted(self._ended, key=lambda track: track.frames[0])

    def _end_shot(self) -> None:
        self._ended += self._active
        self._active = []
        needed = min(self.least, max(self._frame - self._began, 1) / 2)
        self._ended = [
            track for track in self._ended if track.frames[0] < self._began or len(track.frames) >= needed
        ]

    def _cost(self, faces: Sequence[Face], embeddings: Sequence[Tensor | None]) -> np.ndarray:
        """Return what it costs that a track (rows) goes on as a face (columns)."""
        expected = torch.stack([track.expected(self._frame) for track in self._active])
        boxes = torch.stack([face.box.float() for face in faces])
        overlap = box_iou(expected, boxes)
        sides = _side(expected)[:, None]
        distance = (_middle(expected)[:, None] - _middle(boxes)[None]).norm(dim=-1) / sides
        growth = _side(boxes)[None] / sides
        cost = distance + 1 - overlap
        impossible = (distance > _REACH) | (growth > _GROWN) | (growth < _SHRUNK)
        for row, track in enumerate(self._active):
            own = track.embedding()
            for column, embedding in enumerate(embeddings):
                if own is None or embedding is None:
                    continue
                likeness = float(own @ embedding)
                cost[row, column] += _WEIGHT_OF_IDENTITY * max(self.same_person - likeness, 0.0)
                # A face in the right place with another identity is somebody else who came there.
                if likeness < self.same_person / 2 and overlap[row, column] < 0.5:
                    impossible[row, column] = True
        return np.where(impossible.numpy(), _IMPOSSIBLE, cost.numpy())


def _middle(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]).float() / 2


def _side(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1).clamp_min(1.0)


def _grow(box: Tensor) -> Tensor:
    margin = 0.25 * _side(box)
    return box + torch.stack([-margin, -margin, margin, margin])
