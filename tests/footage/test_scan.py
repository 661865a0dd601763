"""Who is where, on rendered footage, found by the miniature's own networks."""

import re
from pathlib import Path

import pytest
import torch
from rendered_footage import place, two_people_a_cut_and_an_absence, wall

from keyface.faces.squares import detector_squares
from keyface.footage import Footage, scan
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
