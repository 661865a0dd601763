"""face-api's single-shot detector: against the library itself, on small faces, and on what is no face."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.transform import AffineTransform, SimilarityTransform, resize, warp
from torch import Tensor

from keyface.faces.face_api import FaceApi
from keyface.faces.face_api.boxes import Boxes, joined, scaled
from keyface.faces.face_api.detector import TinyFaceDetector
from keyface.faces.face_api.ssd import SsdFaceDetector

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "face_api_reference.json").read_text())
FACE = REFERENCE["ssd_face"]
MIDDLE = (FACE["left"] + FACE["width"] / 2, FACE["top"] + FACE["height"] / 2)


@pytest.fixture(scope="module")
def detector(face_api_folder: Path) -> SsdFaceDetector:
    return SsdFaceDetector.load(face_api_folder)


def as_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() * 2 - 1


def scene(width: float, x: float, y: float, roll: float = 0.0) -> Tensor:
    """The portrait's head in a frame of 1280 by 720 with coffee on a wooden table."""
    frame = resize(data.coffee(), (720, 1280), anti_aliasing=True)
    scale = width / FACE["width"]
    move: AffineTransform = SimilarityTransform(translation=(-MIDDLE[0], -MIDDLE[1]))
    move = move + SimilarityTransform(scale=scale, rotation=roll) + SimilarityTransform(translation=(x, y))
    picture = data.astronaut() / 255.0
    rows, columns = np.mgrid[0:512, 0:512]
    oval = ((columns - MIDDLE[0]) / 75) ** 2 + ((rows - MIDDLE[1] - 10) / 100) ** 2 < 1
    blur = 0.4 * max(1 / scale - 1, 0.0)
    head = warp(
        gaussian_filter(picture, (blur, blur, 0)), move.inverse, output_shape=(720, 1280), mode="edge"
    )
    mask = warp(gaussian_filter(oval.astype(float), 4), move.inverse, output_shape=(720, 1280))[..., None]
    return as_tensor(frame * (1 - mask) + head * mask)


def test_it_agrees_with_the_library_itself(detector: SsdFaceDetector) -> None:
    with torch.no_grad():
        corners, scores = detector(as_tensor(data.astronaut() / 255.0))
    expected = torch.tensor(REFERENCE["ssd"])
    torch.testing.assert_close(corners[0, ::31][:, [1, 0, 3, 2]] / 512, expected[:, :4], atol=2e-4, rtol=0)
    torch.testing.assert_close(scores[0, ::31], expected[:, 4], atol=1e-4, rtol=0)
    best = int(scores[0].argmax())
    assert float(scores[0, best]) == pytest.approx(FACE["score"], abs=1e-4)
    left, top, right, bottom = corners[0, best].tolist()
    assert [left, top] == pytest.approx([FACE["left"], FACE["top"]], abs=0.05)
    assert [right - left, bottom - top] == pytest.approx([FACE["width"], FACE["height"]], abs=0.05)


def test_anchors_are_laid_over_any_size_as_the_library_lays_them_over_its_own(
    detector: SsdFaceDetector,
) -> None:
    """A face's score and place within 512 by 512 stay when black is added on the right and below."""
    picture = as_tensor(data.astronaut() / 255.0)
    wide = torch.nn.functional.pad(picture, (0, 256, 0, 64), value=-1.0)
    with torch.no_grad():
        corners, scores = detector(wide)
        own_corners, own_scores = detector(picture)
    best, own = int(scores[0].argmax()), int(own_scores[0].argmax())
    assert best // 3 // 48 == own // 3 // 32, "the row of cells that the face is in"
    torch.testing.assert_close(corners[0, best], own_corners[0, own], atol=1.5, rtol=0)
    assert float(scores.max()) == pytest.approx(float(own_scores.max()), abs=0.05)


@pytest.mark.parametrize(
    ("width", "x", "y", "roll"), [(40, 1000, 120, 0.2), (40, 140, 610, -0.3), (36, 620, 80, 0.0)]
)
def test_a_small_face_in_a_wide_frame_is_found_where_it_is(
    detector: SsdFaceDetector, width: float, x: float, y: float, roll: float
) -> None:
    (found,) = detector.detect(scene(width, x, y, roll))
    assert len(found.scores) == 1
    left, top, right, bottom = found.corners[0].tolist()
    assert abs((left + right) / 2 - x) < 0.15 * width
    assert abs((top + bottom) / 2 - y) < 0.15 * width
    assert 0.75 * width < right - left < 1.3 * width


def test_the_close_look_drops_what_looks_like_a_face_at_one_scale(detector: SsdFaceDetector) -> None:
    suit = as_tensor(data.astronaut()[190:] / 255.0)
    suspected = detector._at(suit, 640, 0.5)[0]
    assert len(suspected.scores), "the glance takes the shoulder for a face"
    assert [len(each.scores) for each in detector.detect(suit, sides=(640,))] == [0]
    frame = as_tensor(resize(data.coffee(), (720, 1280), anti_aliasing=True))
    assert [len(each.scores) for each in detector.detect(torch.cat([frame, frame.flip(-1)]))] == [0, 0]


def test_levels_of_a_pyramid_find_a_face_once(detector: SsdFaceDetector) -> None:
    frame = scene(90, 700, 300)
    assert all(len(detector._at(frame, side, 0.2)[0].scores) for side in (512, 768, 1280))
    (found,) = detector.detect(frame, sides=(512, 768, 1280))
    assert len(found.scores) == 1


def test_joined_levels_keep_the_surest_of_boxes_that_overlap() -> None:
    coarse = [
        Boxes(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.6])),
        Boxes(torch.zeros(0, 4), torch.zeros(0)),
    ]
    fine = [
        Boxes(torch.tensor([[1.0, 0, 11, 10], [30, 0, 40, 10]]), torch.tensor([0.9, 0.3])),
        Boxes(torch.tensor([[5.0, 5, 9, 9]]), torch.tensor([0.4])),
    ]
    first, second = joined([coarse, fine])
    assert first.corners.tolist() == [[1, 0, 11, 10], [30, 0, 40, 10]]
    assert second.corners.tolist() == [[5, 5, 9, 9]]


def test_pictures_are_scaled_by_their_longer_side() -> None:
    small, factor = scaled(torch.ones(1, 3, 720, 1280), 512)
    assert small.shape == (1, 3, 288, 512)
    assert factor == 2.5
    high, factor = scaled(torch.ones(1, 3, 1000, 300), 512)
    assert high.shape == (1, 3, 512, 160)
    assert factor == pytest.approx(1000 / 512)
    assert float(high[0, 0, 0, 153]) == pytest.approx(1.0)
    assert (high[..., 154:] == -1).all(), "300 pixels become 154; the rest is black"


def test_folders_of_earlier_versions_have_the_tiny_detector(face_api_folder: Path, tmp_path: Path) -> None:
    assert isinstance(FaceApi.load(face_api_folder).detector, SsdFaceDetector)
    for file in face_api_folder.iterdir():
        if not file.name.startswith("ssd_"):
            shutil.copy(file, tmp_path)
    older = FaceApi.load(tmp_path)
    assert isinstance(older.detector, TinyFaceDetector)
    (face,) = older.find(as_tensor(data.astronaut() / 255.0))[0]
    assert float((face.box[:2] + face.box[2:])[0] / 2) == pytest.approx(MIDDLE[0], abs=15)
