"""Human's networks on a public-domain portrait: found anywhere, at any size and turn, and nowhere else."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import ProjectiveTransform, SimilarityTransform, resize, warp
from torch import Tensor

from keyface.faces.human import HumanFaces

EYES_AND_MOUTH = np.array([[201.5, 101.0], [246.0, 103.5], [222.0, 128.0], [202.0, 139.0], [246.0, 141.0]])
"""Left and right eye, nose tip, left and right mouth corner in the portrait, measured by eye."""

FACE = np.array([224.0, 120.0])
HEIGHT = 110.0
"""Middle of the face and its height from brow to chin, pixels."""


@pytest.fixture(scope="module")
def networks(human_folder: Path) -> HumanFaces:
    return HumanFaces.load(human_folder)


def as_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() * 2 - 1


def scene(
    centre: tuple[float, float],
    height: float,
    roll: float = 0.0,
    turn: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] = (720, 1280),
) -> tuple[Tensor, np.ndarray]:
    """The head and shoulders of the portrait in a cluttered picture.

    Returns:
        The picture (1, 3, H, W) and its five landmarks.
    """
    portrait = data.astronaut() / 255.0
    scale = height / HEIGHT
    perspective = np.eye(3)
    perspective[2, :2] = turn
    move = (
        ProjectiveTransform((SimilarityTransform(translation=-FACE)).params)
        + ProjectiveTransform(perspective)
        + ProjectiveTransform(SimilarityTransform(rotation=roll, scale=scale).params)
        + ProjectiveTransform(SimilarityTransform(translation=centre).params)
    )
    background = resize(data.coffee(), size)
    if scale < 1:
        small = resize(portrait, (round(512 * scale), round(512 * scale)), anti_aliasing=True)
        stretch = ProjectiveTransform(SimilarityTransform(scale=512 / len(small)).params)
        drawn = warp(small, (stretch + move).inverse, output_shape=size, cval=-1.0)
    else:
        drawn = warp(portrait, move.inverse, output_shape=size, cval=-1.0)
    return as_tensor(np.where(drawn < 0, background, drawn)), move(EYES_AND_MOUTH)


def test_the_portrait_s_face_is_found(networks: HumanFaces) -> None:
    (face,) = networks.find(as_tensor(data.astronaut() / 255.0))[0]
    assert face.score > 0.8
    assert (face.landmarks - torch.from_numpy(EYES_AND_MOUTH)).norm(dim=-1).max() < 6
    assert face.points is not None
    assert face.points.shape == (468, 2)
    left, top, right, bottom = face.box.tolist()
    assert 160 < left < 190 < 260 < right < 290
    assert 50 < top < 80 < 160 < bottom < 190


@pytest.mark.parametrize("height", [32.0, 40.0, 110.0, 600.0])
@pytest.mark.parametrize("roll", [-0.7, 0.0, 0.7])
def test_faces_of_any_size_and_roll_are_found(height: float, roll: float, networks: HumanFaces) -> None:
    picture, truth = scene((300.0, 330.0) if height < 50 else (760.0, 400.0), height, roll)
    (face,) = networks.find(picture)[0]
    assert float((face.landmarks - torch.from_numpy(truth)).norm(dim=-1).max()) < 0.06 * height


def test_a_face_that_turns_aside_is_found(networks: HumanFaces) -> None:
    for turn in ((0.0025, 0.0), (-0.0025, 0.0), (0.0, 0.0025), (0.0, -0.0025)):
        picture, truth = scene((640.0, 360.0), 200.0, turn=turn)
        (face,) = networks.find(picture)[0]
        assert float((face.landmarks - torch.from_numpy(truth)).norm(dim=-1).max()) < 25


def test_each_picture_has_its_own_faces(networks: HumanFaces) -> None:
    first, _ = scene((300.0, 300.0), 150.0)
    second, _ = scene((900.0, 400.0), 100.0, 0.3)
    both = torch.where(torch.arange(1280) < 600, first, second)
    nothing = torch.zeros_like(first)
    found = networks.find(torch.cat([first, nothing, both]))
    assert [len(faces) for faces in found] == [1, 0, 2]
    torch.testing.assert_close(found[0][0].landmarks, networks.find(first)[0][0].landmarks)
    xs = sorted(float(face.landmarks[:, 0].mean()) for face in found[2])
    assert xs == pytest.approx([300, 900], abs=15)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "retina", "hubble_deep_field"])
def test_where_there_is_no_face_none_is_found(name: str, networks: HumanFaces) -> None:
    picture = getattr(data, name)()
    assert networks.find(as_tensor(picture / 255.0)) == [[]]
    assert networks.find(as_tensor(resize(picture, (720, 1280)))) == [[]]


def test_identity_stays_through_motion(networks: HumanFaces) -> None:
    pictures = [
        scene((640.0, 360.0), 200.0),
        scene((500.0, 300.0), 90.0, 0.4),
        scene((700.0, 400.0), 350.0, -0.3),
        scene((640.0, 360.0), 200.0, turn=(0.0015, 0.0)),
    ]
    images = torch.cat([picture for picture, _ in pictures])
    landmarks = torch.stack([faces[0].landmarks for faces in networks.find(images)])
    for recognizer in networks.recognizers.values():
        embeddings = recognizer(images, landmarks)
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
        assert float((embeddings @ embeddings.T).min()) > recognizer.same_person + 0.1
        # Another face: eyes wider apart, by stretching across.
        wide = torch.nn.functional.interpolate(images[:1], (720, 2400))[..., 560:1840]
        stretched = recognizer(wide, networks.find(wide)[0][0].landmarks[None])
        assert float(stretched @ embeddings[0]) < float((embeddings @ embeddings.T).min())


def test_gradients_reach_the_portrait(networks: HumanFaces) -> None:
    image = as_tensor(data.astronaut() / 255.0)
    landmarks = networks.find(image)[0][0].landmarks[None]
    for recognizer in networks.recognizers.values():
        leaf = image.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(recognizer(leaf, landmarks)[0, :8].sum(), leaf)
        assert gradient[..., 80:180, 180:270].abs().sum() > 0
        assert gradient[..., 400:, :].abs().sum() == 0
        # The networks have many corners: only tiny steps show the slope, which takes double precision.
        precise = copy.deepcopy(recognizer).double()
        crop = recognizer.crop(image, landmarks).double().requires_grad_(True)
        direction = torch.randn(crop.shape, generator=torch.Generator().manual_seed(0)).double()
        (gradient,) = torch.autograd.grad(precise.embed(crop)[0, :8].sum(), crop)
        with torch.no_grad():
            ahead, behind = (precise.embed(crop + step * direction)[0, :8].sum() for step in (1e-7, -1e-7))
        assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-7, rel=0.01)


def test_looks_and_person(networks: HumanFaces) -> None:
    image = as_tensor(data.astronaut() / 255.0)
    (looks,) = networks.look(image, networks.find(image)[0][:1])
    assert looks.age is not None
    assert 20 < looks.age < 50
    assert looks.male is not None
    assert looks.male < 0.5
    assert looks.expressions["happy"] > 0.9
    assert sum(looks.expressions.values()) == pytest.approx(1, abs=1e-3)
    mask = networks.person(image)[0]
    assert mask.shape == (512, 512)
    assert float(mask[60:500, 200:250].mean()) > 0.95, "face and chest"
    assert float(mask[:100, 420:].mean()) < 0.05, "beside the rocket"
