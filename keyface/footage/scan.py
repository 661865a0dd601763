"""A video looked through once: faces, shots, people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from keyface.faces.alignment import sane_landmarks
from keyface.faces.face import Face, Looks
from keyface.faces.tracking import Track, Tracker
from keyface.footage.people import Footage, Person, Segment, number_people
from keyface.video.cuts import DELAY, CutDetector

if TYPE_CHECKING:
    from keyface.models.finders import FaceSuite
    from keyface.video import VideoReader

CHUNK_BYTES = 64 * 2**20
"""Memory for the frames that are looked at together, as floats."""

EMBEDDINGS_A_SECOND = 2.0
"""How often a face is embedded while nobody else is near."""

_LOOKS = 7
"""Frames of a person whose looks are guessed."""

_LONGEST_CHUNK = 32


def scan(
    reader: VideoReader, suite: FaceSuite, progress: Callable[[str, int, int], None] | None = None
) -> Footage:
    """Find the people in a video, which is decoded once; memory does not grow with its length.

    Args:
        reader: The video.
        suite: Finds, embeds and describes faces.
        progress: Called with `find`, frames done and frames to do.
    """
    fps, total = float(reader.fps), len(reader)
    tracker, looks = Tracker(fps, suite.same_person), _LooksOf(suite)
    every = max(round(fps / EMBEDDINGS_A_SECOND), 1)
    shots, frame = [0], 0
    for frames, cuts in _with_cuts(reader):
        found = [[face for face in faces if _sane(face)] for faces in suite.finder.find(frames)]
        for image, faces in zip(frames, found, strict=True):
            if frame in cuts:
                tracker.cut()
                shots.append(frame)
            wanted = frame % every == 0 or frame == shots[-1] or tracker.ambiguous(faces)
            embeddings = _embed(suite, image, faces) if wanted and faces else None
            for track, face in zip(tracker.add(faces, embeddings), faces, strict=True):
                looks.see(track, image, face, frame)
            frame += 1
        if progress is not None:
            progress("find", frame, total)
    origin = reader.timings[0].pts
    seconds = torch.tensor([float((timing.pts - origin) * reader.time_base) for timing in reader.timings])
    size = (reader.height, reader.width)
    tracks = tracker.finish()
    groups = same_people(tracks, suite.same_person)
    people = [
        Person(
            0,
            tuple(_segment(track, seconds, size) for track in group),
            looks.of(group),
            _mean_embedding(group),
        )
        for group in groups
    ]
    return Footage(size, seconds, tuple(shots), number_people(people), suite.name)


def same_people(tracks: Sequence[Track], same_person: float) -> list[list[Track]]:
    """Group tracks by person: those that never share a frame and are alike enough, the most alike first.

    Args:
        tracks: By their first frame.
        same_person: Least cosine similarity of one person's.

    Returns:
        Groups of tracks, each by first frame.
    """
    groups = [[track] for track in tracks]
    known = [track.embedding() for track in tracks]
    told = [each for each in known if each is not None]
    if not told:
        return groups
    sums = torch.stack([torch.zeros_like(told[0]) if each is None else each for each in known]).double()
    spans = torch.tensor([(track.frames[0], track.frames[-1]) for track in tracks])
    apart = (spans[:, None, 0] > spans[None, :, 1]) | (spans[None, :, 0] > spans[:, None, 1])
    unlike = torch.tensor([each is None for each in known])
    apart &= ~(unlike[:, None] | unlike[None, :])
    units = torch.nn.functional.normalize(sums, dim=1)
    likeness = torch.where(apart, units @ units.T, -torch.inf)
    while True:
        first, second = divmod(int(likeness.argmax()), len(tracks))
        if likeness[first, second] < same_person:
            break
        first, second = min(first, second), max(first, second)
        groups[first] += groups[second]
        groups[second] = []
        sums[first] += sums[second]
        units[first] = torch.nn.functional.normalize(sums[first], dim=0)
        apart[first] &= apart[second]
        row = torch.where(apart[first], units @ units[first], -torch.inf)
        apart[:, first] = apart[first]
        likeness[first], likeness[:, first] = row, row
        for gone in (apart[second], apart[:, second]):
            gone.fill_(False)
        likeness[second], likeness[:, second] = -torch.inf, -torch.inf
    return [sorted(group, key=lambda track: track.frames[0]) for group in groups if group]


class _LooksOf:
    """Guesses of a few frames of each track."""

    def __init__(self, suite: FaceSuite) -> None:
        self._describer = suite.describer
        self._seen: dict[int, list[Looks]] = {}

    def see(self, track: Track, image: Tensor, face: Face, frame: int) -> None:
        """Look at a face, unless its track was looked at often or just now."""
        known = self._seen.setdefault(id(track), [])
        # The 1st, 5th, 25th … find: long tracks are looked at over all their length.
        if len(known) < _LOOKS and len(track.frames) >= 5 ** len(known):
            known += self._describer.look(image[None], [face])

    def of(self, tracks: Sequence[Track]) -> Looks | None:
        """Return what was guessed of these tracks together."""
        known = [looks for track in tracks for looks in self._seen.get(id(track), [])]
        if not known:
            return None
        ages = [looks.age for looks in known if looks.age is not None]
        male = [looks.male for looks in known if looks.male is not None]
        names = dict.fromkeys(name for looks in known for name in looks.expressions)
        return Looks(
            age=_median(ages),
            male=_median(male),
            expressions={
                name: sum(looks.expressions.get(name, 0.0) for looks in known) / len(known) for name in names
            },
        )


def _with_cuts(reader: VideoReader) -> Iterator[tuple[Tensor, set[int]]]:
    """Yield chunks of frames with the numbers of those that begin a shot, which are known a little later."""
    size = max(reader.at_once(CHUNK_BYTES, _LONGEST_CHUNK), DELAY + 1)
    detector = CutDetector()
    cuts: set[int] = set()
    waiting: Tensor | None = None
    for frames in reader.chunks(size):
        cuts |= set(detector.add(frames))
        if waiting is not None:
            # With fewer frames than the delay in the last chunk, its predecessor's cuts are told at the end.
            if len(frames) < DELAY + 1:
                cuts |= set(detector.finish())
            yield waiting, cuts
        waiting = frames
    cuts |= set(detector.finish())
    if waiting is not None:
        yield waiting, cuts


def _sane(face: Face) -> bool:
    return bool(sane_landmarks(face.landmarks[None].float())[0])


def _embed(suite: FaceSuite, image: Tensor, faces: Sequence[Face]) -> list[Tensor | None]:
    points = torch.stack([face.landmarks for face in faces])
    with torch.no_grad():
        return list(suite.recognizer(image.expand(len(faces), -1, -1, -1), points))


def _segment(track: Track, seconds: Tensor, size: tuple[int, int]) -> Segment:
    """Return a track with its gaps filled."""
    first, last = track.frames[0], track.frames[-1]
    points = torch.stack([face.landmarks.float().flatten() for face in track.faces])
    boxes = torch.stack([face.box.float() for face in track.faces])
    known = torch.tensor(track.frames)
    wanted = torch.arange(first, last + 1)
    after = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    before = (after - 1).clamp(min=0)
    before = torch.where(known[after] == wanted, after, before)
    times = seconds.double()
    span = (times[known[after]] - times[known[before]]).clamp_min(1e-9)
    share = ((times[wanted] - times[known[before]]) / span).clamp(0, 1).float()[:, None]
    landmarks, box = (torch.lerp(each[before], each[after], share) for each in (points, boxes))
    found = torch.isin(wanted, known)
    when = float(seconds[first]), float(seconds[last])
    return Segment(first, when, landmarks.view(-1, 5, 2), box, found, size)


def _mean_embedding(tracks: Sequence[Track]) -> Tensor | None:
    known = [track.embedding() for track in tracks]
    vectors = [each for each in known if each is not None]
    return torch.nn.functional.normalize(torch.stack(vectors).mean(0), dim=0) if vectors else None


def _median(values: list[float]) -> float | None:
    return float(torch.tensor(values).median()) if values else None
