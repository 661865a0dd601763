"""face-api's networks on a public-domain portrait, against the library itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from skimage.transform import SimilarityTransform, warp
from torch import Tensor

from keyface.faces.detecting import DetectingRecognizer
from keyface.faces.face_api import FaceApi
from keyface.faces.face_api.detector import TinyFaceDetector
from keyface.faces.face_api.recognition import SAME_PERSON
from keyface.faces.tfjs.weights import read_tensors

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "face_api_reference.json").read_text())


@pytest.fixture(scope="module")
def networks(face_api_folder: Path) -> FaceApi:
    return FaceApi.load(face_api_folder)


def as_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="module")
def portrait() -> Tensor:
    """Eileen Collins, NASA, public domain: 512 by 512."""
    return as_tensor(data.astronaut())


def moved(portrait: Tensor, angle: float, scale: float, shift: tuple[float, float]) -> Tensor:
    """The portrait turned about its face, scaled and shifted."""
    centre = SimilarityTransform(translation=(-224, -120))
    change = SimilarityTransform(rotation=angle, scale=scale)
    back = SimilarityTransform(translation=(224 + shift[0], 120 + shift[1]))
    picture = ((portrait[0] + 1) / 2).permute(1, 2, 0).double().numpy()
    changed = warp(picture, (centre + change + back).inverse, mode="edge")
    return torch.from_numpy(changed).permute(2, 0, 1)[None].float() * 2 - 1


def light(portrait: Tensor, gamma: float) -> Tensor:
    return ((portrait + 1) / 2).pow(gamma) * 2 - 1


def test_every_network_agrees_with_the_library_itself(networks: FaceApi, face_api_folder: Path) -> None:
    picture = data.astronaut()
    with torch.no_grad():
        descriptor = networks.recognizer.network(as_tensor(picture[60:210, 150:300]))[0]
        face = as_tensor(picture[80:192, 170:282])
        landmarks, looks = networks.landmarks(face).flatten(), networks.age_gender(face)
        expression = networks.expression(face)[0]
        raw = TinyFaceDetector.load(face_api_folder)(as_tensor(picture[0:224, 112:336])).flatten()
    torch.testing.assert_close(descriptor, torch.tensor(REFERENCE["descriptor"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(landmarks, torch.tensor(REFERENCE["landmarks"]), atol=1e-5, rtol=0)
    assert float(looks.age) == pytest.approx(REFERENCE["age"], abs=1e-3)
    assert 1 - float(looks.male) == pytest.approx(REFERENCE["female"], abs=1e-4)
    expected = torch.tensor(list(REFERENCE["expression"].values()))
    torch.testing.assert_close(expression, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(raw[::7], torch.tensor(REFERENCE["detector"]), atol=1e-3, rtol=1e-4)


def test_the_face_of_the_portrait_is_found(networks: FaceApi, portrait: Tensor) -> None:
    (face,) = networks.find(portrait)[0]
    left, top, right, bottom = face.box.tolist()
    assert 140 < left < 190 < 260 < right < 310
    assert 40 < top < 110 < 165 < bottom < 210
    by_eye = torch.tensor([[202.0, 101.0], [246.0, 103.0], [222.0, 126.0], [205.0, 143.0], [241.0, 144.0]])
    assert (face.landmarks - by_eye).norm(dim=-1).max() < 8
    (looks,) = networks.look(portrait, [face])
    assert looks.expressions["happy"] > 0.9
    assert looks.age is not None
    assert 20 < looks.age < 50
    assert looks.male is not None
    assert looks.male < 0.5


def test_landmarks_move_with_the_face(networks: FaceApi, portrait: Tensor) -> None:
    still = networks.find(portrait)[0][0].landmarks
    found = networks.find(moved(portrait, 0.0, 1.0, (40.0, 90.0)))[0][0].landmarks
    assert (found - still - torch.tensor([40.0, 90.0])).norm(dim=-1).max() < 4


def test_nothing_is_found_where_there_is_no_face(networks: FaceApi) -> None:
    empty = torch.zeros(1, 3, 300, 200)
    assert networks.find(empty) == [[]]
    with pytest.raises(ValueError, match="image 0 of 1 shows no face"):
        DetectingRecognizer(networks.recognizer, networks)(empty)


def test_the_same_person_stays_nearer_than_another(networks: FaceApi, portrait: Tensor) -> None:
    """Warped and relit copies of the portrait, against a mirrored half that makes another face."""
    copies = [
        moved(portrait, 0.15, 1.0, (0.0, 30.0)),
        moved(portrait, -0.1, 1.3, (10.0, 60.0)),
        moved(portrait, 0.0, 0.8, (-20.0, 0.0)),
        light(portrait, 1.6),
        light(portrait, 0.7),
    ]
    # Another face: eyes wider apart and the rest narrower, by stretching across the picture.
    stretched = torch.nn.functional.interpolate(portrait, (512, 900), mode="bilinear")[..., 138:650]
    find = DetectingRecognizer(networks.recognizer, networks)

    def describe(image: Tensor) -> Tensor:
        return networks.recognizer.network(networks.recognizer.crop(image, find.landmarks(image)))

    here = describe(portrait)

    def distance(image: Tensor) -> float:
        return float((describe(image) - here).norm())

    same = [distance(copy) for copy in copies]
    assert max(same) < SAME_PERSON
    assert distance(stretched) > max(same)
    reference = find(portrait)
    assert all(float((find(copy) * reference).sum()) > 0.6 for copy in copies), "and so by the centred cosine"


def test_gradients_reach_the_portrait(networks: FaceApi, portrait: Tensor) -> None:
    landmarks = networks.find(portrait)[0][0].landmarks[None]
    image = portrait.clone().requires_grad_(True)
    embedding = networks.recognizer(image, landmarks)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1))
    (gradient,) = torch.autograd.grad(embedding[0, 0], image)
    assert gradient[..., 80:180, 180:270].abs().sum() > 0
    assert gradient[..., 300:, :].abs().sum() == 0, "below the face nothing counts"
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        step = 2e-4
        change = networks.recognizer(portrait + step * direction, landmarks)[0, 0]
        change = (change - networks.recognizer(portrait - step * direction, landmarks)[0, 0]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(change), rel=0.05)


def test_damaged_weights_are_named(face_api_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"lacks tiny_face_detector_model.*keyface weights get face-api"
    ):
        FaceApi.load(tmp_path)
    name = "tiny_face_detector_model"
    manifest = (face_api_folder / f"{name}-weights_manifest.json").read_text()
    content = (face_api_folder / f"{name}.bin").read_bytes()
    (tmp_path / f"{name}-weights_manifest.json").write_text(manifest)
    (tmp_path / f"{name}.bin").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="193320 bytes, the manifest describes 193321"):
        FaceApi.load(tmp_path)
    (tmp_path / f"{name}.bin").write_bytes(content)
    (tmp_path / f"{name}-weights_manifest.json").write_text(manifest.replace("conv8/", "conv9/"))
    with pytest.raises(ValueError, match="not the weights of a"):
        FaceApi.load(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "shape": [1], "dtype": "string"},
        {"name": "a", "shape": [-1], "dtype": "float32"},
        {
            "name": "a",
            "shape": [1],
            "dtype": "float32",
            "quantization": {"dtype": "int3", "scale": 1, "min": 0},
        },
        {"shape": [1], "dtype": "float32"},
    ],
)
def test_hostile_manifests_are_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net-weights_manifest.json").write_text(
        json.dumps([{"weights": [entry], "paths": ["/etc/passwd"]}])
    )
    (tmp_path / "net.bin").write_bytes(b"\0\0\0\0")
    with pytest.raises(ValueError, match="no manifest of TensorFlow"):
        read_tensors(tmp_path, "net")


def test_quantized_values_are_scaled(tmp_path: Path) -> None:
    entries = [
        {
            "name": "small",
            "shape": [2, 2],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
        },
        {"name": "whole", "shape": [1], "dtype": "float32"},
        {
            "name": "count",
            "shape": [],
            "dtype": "int32",
            "quantization": {"dtype": "uint8", "scale": 1, "min": 3072},
        },
    ]
    (tmp_path / "net-weights_manifest.json").write_text(json.dumps([{"weights": entries}]))
    (tmp_path / "net.bin").write_bytes(bytes([0, 1, 2, 255]) + torch.tensor([2.5]).numpy().tobytes() + b"\2")
    tensors = read_tensors(tmp_path, "net")
    assert tensors["small"].tolist() == [[-1.0, -0.5], [0.0, 126.5]]
    assert tensors["whole"].tolist() == [2.5]
    assert tensors["count"].dtype == torch.int32
    assert tensors["count"].item() == 3074
