"""Faces found and followed on footage of known truth: how many, how well, how fast."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from keyface.benchmark.footage_scenes import FPS, SceneTruth
from keyface.faces.crops import FFHQ, cut, put_back, smooth_squares
from keyface.footage import Footage, Segment, scan
from keyface.models.finders import FaceSuite
from keyface.video import VideoReader, write_clip

_CROP = 512
_NEAR = 0.5
"""Sides of the face within which a find is of that face."""


@dataclass(frozen=True)
class FootageFigures:
    """What was measured on one scene.

    Attributes:
        scene: Its name.
        finder: What found the faces.
        found: Share of the frames and people with a face in which it was found and followed.
        false: Frames in which a face was followed that is not there.
        switches: Times that a followed person became another.
        centre_error: Distance of the crop's middle from the truth's, in its sides; 95 of 100 are below.
        jitter: Second differences of the smoothed crops' middles, as a share of those of the raw landmarks.
        milliseconds: For a frame of finding, following, cutting a crop and putting it back.
    """

    scene: str
    finder: str
    found: float
    false: int
    switches: int
    centre_error: float
    jitter: float
    milliseconds: float


def measure_footage(
    scene: SceneTruth, suite: FaceSuite, folder: Path, advance: Callable[[int], None] = lambda _: None
) -> FootageFigures:
    """Write a scene as a video, look for faces in it, and compare with the truth.

    Args:
        scene: Frames and truth.
        suite: What is measured.
        folder: Where the video goes.
        advance: Told the number of frames done.
    """
    path = folder / f"{scene.name}.mp4"
    write_clip(path, scene.frames(), FPS)
    reader = VideoReader(path)
    _ = reader.timings  # which are not part of what is timed
    done = 0

    def told(_: str, now: int, __: int) -> None:
        nonlocal done
        advance(now - done)
        done = now

    started = time.perf_counter()
    footage = scan(reader, suite, told)
    seconds = time.perf_counter() - started + _crop_and_put_back(reader, footage)
    matches = [match for person in footage.people for match in _matches(person.segments, scene, footage)]
    shown = sum(int(visible.sum()) for visible in scene.visible)
    right = sum(match.right for match in matches)
    return FootageFigures(
        scene.name,
        suite.name,
        right / max(shown, 1),
        sum(match.false for match in matches),
        sum(match.switches for match in matches),
        _quantile([error for match in matches for error in match.errors], 0.95),
        _ratio([match.jitter for match in matches]),
        1000 * seconds / len(reader),
    )


@dataclass
class _Match:
    """How one followed person compares with the truth."""

    right: int
    false: int
    switches: int
    errors: list[float]
    jitter: tuple[float, float]


def _matches(segments: Sequence[Segment], scene: SceneTruth, footage: Footage) -> list[_Match]:
    """Compare the segments of one followed person with whoever is at those places."""
    found, last = [], None
    for segment in segments:
        numbers = range(segment.first, segment.stop)
        who = [scene.nearest(frame, segment.landmarks[frame - segment.first], _NEAR) for frame in numbers]
        known = [each for each in who if each is not None]
        switches = 0
        for each in known:
            switches += last is not None and each != last
            last = each
        usual = max(set(known), key=known.count) if known else None
        rows = [row for row, each in enumerate(who) if each == usual and each is not None]
        errors, jitter = _crop_errors(segment, scene, footage, usual, rows)
        right = sum(
            bool(scene.visible[frame][each])
            for frame, each in zip(numbers, who, strict=True)
            if each is not None
        )
        found.append(_Match(right, len(who) - len(known), switches, errors, jitter))
    return found


def _crop_errors(
    segment: Segment, scene: SceneTruth, footage: Footage, who: int | None, rows: Sequence[int]
) -> tuple[list[float], tuple[float, float]]:
    if who is None or len(rows) < 8:
        return [], (0.0, 0.0)
    seconds = footage.seconds[segment.first : segment.stop]
    raw = FFHQ.squares(segment.landmarks)
    smooth = smooth_squares(raw, seconds)
    truth = FFHQ.squares(torch.stack([scene.landmarks[segment.first + row][who] for row in rows]))
    side = truth[:, 2:3]
    off = [(squares[rows, :2] - truth[:, :2]) / side for squares in (raw, smooth)]
    # A finder's own idea of where the eyes are is no error of following.
    errors = (off[1] - off[1].mean(dim=0)).norm(dim=1).tolist()
    shaken = [float(each.diff(n=2, dim=0).norm(dim=1).mean()) for each in off]
    return errors, (shaken[0], shaken[1])


def _crop_and_put_back(reader: VideoReader, footage: Footage) -> float:
    """Return the seconds that it takes to cut the first person's crops and to add a change to the frames."""
    if not footage.people:
        return 0.0
    segments = footage.people[0].segments
    squares = {
        segment.first + row: square
        for segment in segments
        for row, square in enumerate(
            smooth_squares(FFHQ.squares(segment.landmarks), footage.seconds[segment.first : segment.stop])
        )
    }
    change = torch.full((1, 3, _CROP, _CROP), 0.1)
    seconds, number = 0.0, 0
    for frames in reader.chunks(16):
        for frame in frames:
            if number in squares:
                started = time.perf_counter()
                cut(frame[None], squares[number][None], _CROP)
                put_back(change, squares[number][None], frame[None].clone())
                seconds += time.perf_counter() - started
            number += 1
    return seconds


def _quantile(values: Sequence[float], share: float) -> float:
    return float(torch.tensor(values).quantile(share)) if values else math.nan


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    raw, smooth = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return smooth / raw if raw else math.nan


__all__ = ["FPS", "FootageFigures", "measure_footage"]
