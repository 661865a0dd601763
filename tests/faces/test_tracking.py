"""Faces followed by place, motion and identity."""

from dataclasses import replace

import torch
from torch import Tensor

from keyface.faces.face import Face
from keyface.faces.tracking import Track, Tracker

ANNA, BERTA = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def face(x: float, y: float = 100.0, side: float = 40.0) -> Face:
    box = torch.tensor([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
    points = torch.tensor([[-8.0, -6.0], [8.0, -6.0], [0.0, 2.0], [-6.0, 10.0], [6.0, 10.0]])
    return Face(box, 0.9, points + torch.tensor([x, y]))


def positions(track: Track) -> list[float]:
    return [float(each.box[0]) + 20 for each in track.faces]


def test_two_people_keep_their_tracks_when_they_cross() -> None:
    """They meet in the middle, where one hides the other for three frames, and go on."""
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(40):
        anna, berta = 50 + 5.0 * frame, 250 - 5.0 * frame
        found: list[tuple[Face, Tensor]] = [(face(anna), ANNA)]
        if abs(anna - berta) > 12:
            found.insert(frame % 2, (face(berta), BERTA))
        tracker.add([each for each, _ in found], [embedding for _, embedding in found])
    first, second = sorted(tracker.finish(), key=lambda track: -len(track.frames))
    assert positions(first) == [50 + 5.0 * frame for frame in range(40)]
    assert positions(second) == [250 - 5.0 * frame for frame in range(40) if abs(200 - 10.0 * frame) > 12]


def test_gaps_of_half_a_second_are_bridged_and_longer_ones_are_not() -> None:
    for gap, tracks in ((12, 1), (13, 2)):
        tracker = Tracker(fps=25, same_person=0.5)
        for frame in range(60):
            tracker.add([] if 20 <= frame < 20 + gap else [face(100 + frame)])
        assert len(tracker.finish()) == tracks


def test_nothing_crosses_a_cut() -> None:
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(40):
        if frame == 25:
            tracker.cut()
        tracker.add([face(100)])
    assert [(track.frames[0], track.frames[-1]) for track in tracker.finish()] == [(0, 24), (25, 39)]


def test_somebody_else_in_the_same_place_is_another_track() -> None:
    """Berta is found where Anna has left a moment before."""
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(60):
        if frame < 25:
            tracker.add([face(100)], [ANNA])
        elif frame < 29:
            tracker.add([])
        else:
            tracker.add([face(130)], [BERTA])
    assert [track.frames[0] for track in tracker.finish()] == [0, 29]


def test_false_finds_are_left_out_but_short_shots_are_not() -> None:
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(30):
        tracker.add([face(100), *([face(400)] if frame in (7, 8) else [])])
    tracker.cut()
    for _ in range(3):
        tracker.add([face(300)])
    assert [(track.frames[0], len(track.frames)) for track in tracker.finish()] == [(0, 30), (30, 3)]


def test_a_face_does_not_jump_or_grow_at_once() -> None:
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(20):
        tracker.add([face(100) if frame < 10 else face(300)])
    assert len(tracker.finish()) == 2
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(20):
        tracker.add([face(100, side=40 if frame < 10 else 90)])
    assert len(tracker.finish()) == 2


def test_it_says_when_places_alone_may_confuse() -> None:
    tracker = Tracker(fps=25, same_person=0.5)
    assert tracker.ambiguous([face(100)]), "somebody comes"
    tracker.add([face(100)])
    assert not tracker.ambiguous([face(101)])
    assert tracker.ambiguous([face(101), face(300)])
    tracker.add([face(101), face(300)])
    assert not tracker.ambiguous([face(102), face(300)])
    assert tracker.ambiguous([face(102), face(150)]), "they are near one another"
    tracker.add([face(102)])
    assert tracker.ambiguous([face(103)]), "somebody may come back"


def test_tracks_of_long_videos_stay_small() -> None:
    """What a finder computed in passing is not kept: neither dense landmarks nor what a box is a part of."""
    tracker = Tracker(fps=25, same_person=0.5)
    for frame in range(30):
        found = face(100 + frame)
        boxes = torch.zeros(5000, 4)
        boxes[7] = found.box
        tracker.add([replace(found, box=boxes[7], points=torch.zeros(468, 2))])
    (track,) = tracker.finish()
    assert [float(each.box[0]) for each in track.faces] == [80.0 + frame for frame in range(30)]
    for each in track.faces:
        assert each.points is None
        assert each.box.untyped_storage().nbytes() + each.landmarks.untyped_storage().nbytes() < 200
