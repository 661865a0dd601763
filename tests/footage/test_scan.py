"""Who is where, on rendered footage, found by the miniature's own networks."""

import re
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from rendered_footage import place, two_people_a_cut_and_an_absence, wall

from keyface.faces.face import Face
from keyface.faces.squares import detector_squares
from keyface.faces.tracking import Track
from keyface.footage import Footage, scan
from keyface.footage.scan import same_people
from keyface.miniature.population import clips, world
from keyface.miniature.rendering.renderer import render_images
from keyface.models.finders import FaceSuite, find_suite
from keyface.pictures import save_png, to_image
from keyface.video import VideoReader, write_clip


@pytest.fixture(scope="module")
def suite() -> FaceSuite:
    return find_suite("miniature")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, torch.Tensor]]:
    path: Path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    truth = two_people_a_cut_and_an_absence(path)["landmarks"]
    assert isinstance(truth, dict)
    return path, truth


@pytest.fixture(scope="module")
def footage(scene: tuple[Path, dict[int, torch.Tensor]], suite: FaceSuite) -> Footage:
    told: list[tuple[int, int]] = []
    found = scan(VideoReader(scene[0]), suite, lambda stage, done, total: told.append((done, total)))
    assert told[-1] == (60, 60)
    return found


def test_people_shots_and_absences(footage: Footage) -> None:
    assert footage.shots == (0, 20)
    first, second = footage.people
    assert [(segment.first, segment.stop) for segment in first.segments] == [(0, 20), (20, 35), (50, 60)]
    assert [(segment.first, segment.stop) for segment in second.segments] == [(0, 20)]
    assert footage.without_face() == [(pytest.approx(35 / 25), pytest.approx(49 / 25))]
    assert first.looks is not None
    assert first.looks.male is not None


def test_landmarks_follow_the_face(footage: Footage, scene: tuple[Path, dict[int, torch.Tensor]]) -> None:
    for segment in footage.people[0].segments:
        truth = torch.stack([scene[1][frame] for frame in range(segment.first, segment.stop)])
        off = (segment.landmarks - truth).mean(dim=1).norm(dim=1) / detector_squares(truth)[:, 2]
        assert float(off.median()) < 0.05, "of the face's side"


def test_people_are_chosen_by_number_size_length_or_photo(
    footage: Footage, suite: FaceSuite, tmp_path: Path
) -> None:
    first, second = footage.people
    assert footage.choose("2", suite) == [second]
    assert footage.choose("longest", suite) == [first]
    assert footage.choose("largest", suite) == [max(footage.people, key=lambda person: person.side)]
    assert footage.choose("all", suite) == [first, second]
    with pytest.raises(ValueError, match="there is no person 3; there are 2, from 1 to 2"):
        footage.choose("3", suite)
    photos = []
    for number in range(3):
        faces = clips.draw_clip(world.HELD_OUT + 50 + number, 7, 1, 25)
        photos.append(save_png(to_image(render_images(faces)[0]), tmp_path / f"{number}.png"))
    assert footage.choose(str(photos[0]), suite) == [first]
    assert footage.choose(str(photos[1]), suite) == [second]
    with pytest.raises(ValueError, match="shows nobody in this video"):
        footage.choose(str(photos[2]), suite)
    save_png(to_image(wall(0.0)), tmp_path / "wall.png")
    with pytest.raises(ValueError, match="no face found in it"):
        footage.choose(str(tmp_path / "wall.png"), suite)
    with Image.open(photos[0]) as left, Image.open(photos[1]) as right:
        for name, side in (("friends", right.width), ("passer-by", right.width // 2)):
            both = Image.new("RGB", (2 * left.width, left.height), (90, 90, 110))
            both.paste(left, (0, 0))
            both.paste(right.resize((side, side)), (left.width, 0))
            both.save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="shows 2 faces of about the same size"):
        footage.choose(str(tmp_path / "friends.png"), suite)
    assert footage.choose(str(tmp_path / "passer-by.png"), suite) == [first], "the larger face is meant"


def test_small_turned_and_cut_faces_are_said(suite: FaceSuite, tmp_path: Path) -> None:
    frames = []
    for number in range(10):
        frame = wall(-0.2)
        place(frame, 0, number, (60, 60), side=24)
        place(frame, 1, number, (309, 120), side=60)
        frames.append(frame)
    write_clip(tmp_path / "a.mp4", torch.stack(frames), 25)
    doubts = [
        doubt
        for person in scan(VideoReader(tmp_path / "a.mp4"), suite).people
        for segment in person.segments
        for doubt in segment.doubts()
    ]
    small = [re.match(r"the face is (\d+) pixels large", doubt) for doubt in doubts]
    assert [int(each[1]) for each in small if each is not None] == [pytest.approx(24, abs=3)], doubts


def test_a_wall_shows_nobody(suite: FaceSuite, tmp_path: Path) -> None:
    grey = torch.full((12, 3, 90, 160), 0.1)
    write_clip(tmp_path / "grey.mp4", grey, 25)
    found = scan(VideoReader(tmp_path / "grey.mp4"), suite)
    assert found.people == ()
    assert found.without_face() == [(0.0, pytest.approx(11 / 25))]


def track(first: int, last: int, embedding: list[float] | None) -> Track:
    found = Face(torch.zeros(4), 1.0, torch.zeros(5, 2))
    known = (
        {} if embedding is None else {first: torch.nn.functional.normalize(torch.tensor(embedding), dim=0)}
    )
    return Track(list(range(first, last + 1)), [found] * (last + 1 - first), known)


def test_tracks_are_joined_by_likeness_but_never_where_they_share_a_frame() -> None:
    anna = [1.0, 0.0, 0.0]
    tracks = [
        track(0, 9, anna),
        track(5, 14, [0.9, 0.1, 0.0]),  # like Anna, but seen beside her
        track(10, 19, [0.8, 0.6, 0.0]),  # .8 to Anna
        track(20, 29, [0.0, 0.0, 1.0]),
        track(30, 39, None),
        track(40, 49, anna),
        track(50, 59, None),
    ]
    groups = same_people(tracks, 0.75)
    assert [[tracks.index(each) for each in group] for group in groups] == [[0, 2, 5], [1], [3], [4], [6]]
    assert same_people(tracks[4:5], 0.75) == [tracks[4:5]]
    beside = [track(0, 9, anna), track(20, 29, anna), track(25, 34, [0.9, 0.3, 0.0])]
    assert same_people(beside, 0.75) == [beside[:2], beside[2:]], "seen beside her later"
    assert same_people([], 0.75) == []


def test_hundreds_of_tracks_are_joined_in_seconds() -> None:
    """A talk of an hour with a cut every few seconds, between two people."""
    shots = 600
    tracks = [
        track(10 * shot, 10 * shot + 9, [1.0, 0.1 * (shot % 4), 5.0 * (shot % 2)]) for shot in range(shots)
    ]
    began = time.monotonic()
    groups = same_people(tracks, 0.8)
    assert time.monotonic() - began < 20
    assert [len(group) for group in groups] == [shots // 2, shots // 2]
    assert all(each.frames[0] % 20 == 0 for each in groups[0])
