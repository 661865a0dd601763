"""What needs no networks: parts of a picture, merging, landmarks, ages, crops."""

import itertools
import math

import pytest
import torch

from keyface.faces.alignment import align
from keyface.faces.human.crops import face_crops, template_crops
from keyface.faces.human.detector import Candidates, _anchors, _look, _merge, squares_over
from keyface.faces.human.looks import likely_age
from keyface.faces.human.mesh import five_points
from keyface.faces.human.squares import Pyramid


def test_parts_cover_the_picture() -> None:
    assert squares_over(720, 1280, 1) == [(0.0, -280.0, 1280.0)]
    assert squares_over(720, 1280, 2)[1:] == [(0.0, 0.0, 720.0), (560.0, 0.0, 720.0)]
    assert squares_over(1280, 720, 2)[1:] == [(0.0, 0.0, 720.0), (0.0, 560.0, 720.0)]
    assert squares_over(512, 512, 2) == [(0.0, 0.0, 512.0)], "the whole is a square itself"
    assert squares_over(100, 300, 3) == [(0.0, -100.0, 300.0)], "parts of less than 128 pixels bring nothing"
    small = [square for square in squares_over(720, 1280, 3) if square[2] == 360]
    for axis, length in ((0, 1280), (1, 720)):
        starts = sorted({square[axis] for square in small})
        assert starts[0] == 0
        assert starts[-1] == length - 360
        assert all(b - a <= 0.81 * 360 for a, b in itertools.pairwise(starts)), "a fifth overlaps"


def test_a_part_lies_where_its_square_says() -> None:
    """A white spot of 40 pixels in a picture of 720 by 1280."""
    image = -torch.ones(3, 720, 1280)
    image[:, 300:340, 900:940] = 1
    for left, top, side in squares_over(720, 1280, 2):
        part = _look(Pyramid(image), (left, top, side))[0, 0] + 1
        assert part.shape == (256, 256)
        ys, xs = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(256) + 0.5, indexing="ij")
        if left <= 900 < left + side:
            x, y = (float((part * grid).sum() / part.sum()) / 256 * side for grid in (xs, ys))
            assert (x + left, y + top) == pytest.approx((920, 320), abs=1.5)
        else:
            assert part.sum() == 0


def test_candidates_stand_in_the_middle_of_their_cells() -> None:
    anchors = _anchors()
    assert anchors.shape == (896, 2)
    assert anchors[0].tolist() == anchors[1].tolist() == [0.5 / 16, 0.5 / 16]
    assert anchors[2].tolist() == [1.5 / 16, 0.5 / 16]
    assert anchors[512].tolist() == anchors[517].tolist() == [0.5 / 8, 0.5 / 8]
    assert anchors[-1].tolist() == [7.5 / 8, 7.5 / 8]


def test_candidates_of_one_face_are_averaged_by_their_scores() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [100, 0, 110, 10], [2, 0, 12, 10], [1, 0, 11, 10], [0, 100, 10, 110]]
    )
    eyes = boxes[:, None, :2].expand(-1, 2, -1)
    found = Candidates(boxes, eyes, torch.tensor([0.6, 0.7, 0.9, 0.8, 0.5]))
    merged = _merge(found, torch.tensor([0, 0, 0, 1, 1]))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    # The third and the first are of one part of the picture; the fourth, of another part, is left out.
    left = 2 * 0.9 / 1.5
    torch.testing.assert_close(merged.boxes[0], torch.tensor([left, 0.0, left + 10, 10.0]))
    torch.testing.assert_close(merged.eyes[0, 0], torch.tensor([left, 0.0]))
    empty = _merge(Candidates(boxes[:0], eyes[:0], found.scores[:0]), torch.zeros(0, dtype=torch.long))
    assert len(empty.scores) == 0


def test_landmarks_of_the_mesh_are_those_of_the_picture() -> None:
    points = torch.zeros(1, 468, 2)
    left, right = [33, 133, 159, 145], [263, 362, 386, 374]
    points[0, :, 1] = 1000.0
    eyes = ([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],)
    points[0, eyes[0]] = torch.tensor([10.0, 20.0])
    mirrored = [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]
    points[0, mirrored] = torch.tensor([30.0, 20.0])
    points[0, 1], points[0, 61], points[0, 291] = (
        torch.tensor(v) for v in ([20.0, 30], [12.0, 40], [28.0, 40])
    )
    assert set(left) <= set(eyes[0])
    assert set(right) <= set(mirrored)
    assert five_points(points)[0].tolist() == [[10, 20], [30, 20], [20, 30], [12, 40], [28, 40]]


def test_the_age_is_the_mean_of_the_two_likeliest() -> None:
    probabilities = torch.zeros(1, 100)
    probabilities[0, 29], probabilities[0, 33], probabilities[0, 80] = 0.6, 0.2, 0.1
    assert float(likely_age(probabilities)) == pytest.approx((30 * 0.6 + 34 * 0.2) / 0.8)


def face(roll: float, scale: float) -> torch.Tensor:
    upright = torch.tensor([[-18.0, -20], [18, -20], [0, 0], [-15, 20], [15, 20]]) * scale
    turn = torch.tensor([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    return (upright @ turn + torch.tensor([120.0, 110.0]))[None]


@pytest.mark.parametrize("roll", [0.0, 0.5, -0.5])
def test_crops_by_the_template_are_those_of_the_alignment(roll: float) -> None:
    """They agree where nothing is halved, up to the half pixel between their conventions."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(1, 3, 12, 12, generator=generator)
    images = torch.nn.functional.interpolate(rough, (240, 240), mode="bicubic") - 0.5
    landmarks = face(roll, 1.2)
    torch.testing.assert_close(
        template_crops(images, landmarks), align(images, landmarks - 0.5), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("roll", [0.0, 0.7])
def test_a_face_fills_its_crop_at_any_size_and_turn(roll: float) -> None:
    """Spots on eyes and mouth come to lie at the same places of the crop."""
    places = []
    for scale in (0.8, 1.6):
        landmarks = face(roll, scale)
        ys, xs = torch.meshgrid(torch.arange(240) + 0.5, torch.arange(240) + 0.5, indexing="ij")
        spots = [
            torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * (4 * scale) ** 2))
            for x, y in landmarks[0, [0, 1, 3]].tolist()
        ]
        crop = face_crops(torch.stack(spots)[None] * 2 - 1, landmarks, 64)[0] + 1
        rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        total = crop.sum(dim=(1, 2))
        places.append(torch.stack([(crop * g).sum(dim=(1, 2)) / total for g in (columns, rows)], dim=1))
    torch.testing.assert_close(places[0], places[1], atol=0.6, rtol=0)
    left, right, mouth = places[1].tolist()
    assert left[1] == pytest.approx(right[1], abs=0.5)
    assert (left[0] + right[0]) / 2 == pytest.approx(32, abs=0.5)
    assert mouth[1] > left[1] + 10
