"""Face finders by name, each with its recognizer and its describer."""

from pathlib import Path

import pytest
import torch
from skimage import data
from tiny_insightface import tiny_pack
from torch import Tensor

from keyface.faces.face import Face
from keyface.miniature import zoo
from keyface.miniature.faces import LandmarkRecognizer, MiniatureDescriber
from keyface.miniature.measure import held_out_faces, render_all
from keyface.miniature.population.world import true_labels
from keyface.models.finders import FINDERS, FaceSuite, find_suite
from keyface.weights import MissingWeightsError, Store
from keyface.weights.finders import REAL_FINDERS


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """No weights, neither in the store nor where insightface keeps them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path / "models"))
    return Store()


def picture(array: object) -> Tensor:
    pixels = torch.tensor(array)
    if pixels.dim() == 2:
        pixels = pixels[..., None].expand(-1, -1, 3)
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def embedded(suite: FaceSuite, image: Tensor) -> Tensor:
    (face,) = suite.finder.find(image)[0]
    with torch.no_grad():
        return suite.recognizer(image, face.landmarks[None])[0]


def test_the_names_are_those_of_the_weights_in_the_order_of_choice() -> None:
    assert FINDERS == (*REAL_FINDERS, "miniature") == ("insightface", "human", "face-api", "miniature")


def test_without_a_finder_one_line_says_what_brings_one(alone: Store) -> None:
    with pytest.raises(
        MissingWeightsError, match=r"^no finder of real faces is here; run `keyface weights get human`"
    ):
        find_suite()
    with pytest.raises(MissingWeightsError, match="Run `keyface weights get face-api`"):
        find_suite("face-api")
    with pytest.raises(
        LookupError, match="face finder 'yolo' is unknown; there are auto, insightface, human"
    ):
        find_suite("yolo")
    with pytest.raises(LookupError, match="miniature:here"):
        find_suite("miniature:here")
    with pytest.raises(FileNotFoundError, match="nowhere: no pack of insightface"):
        find_suite("insightface:nowhere")


def test_the_first_whose_weights_are_here_is_taken(
    alone: Store, recognizer_file: Path, face_api_folder: Path
) -> None:
    alone.root.mkdir()
    (alone.root / "face-api").symlink_to(face_api_folder)
    assert find_suite().name == "face-api"
    pack = Path.home() / ".insightface/models/buffalo_l"
    pack.mkdir(parents=True)
    tiny_pack(pack, recognizer_file)
    suite = find_suite()
    assert suite.name == "insightface"
    assert suite.finder.knows == "real faces"
    assert find_suite(f"insightface:{pack}").name == "insightface"
    red = torch.zeros(1, 3, 480, 640)
    red[0, :, 160:168, 240:248] = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    assert embedded(suite, red).norm() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["human", "face-api"])
def test_a_suite_tells_two_people_apart_and_one_person_from_none(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"{name.replace('-', '_')}_folder")
    suite = find_suite(f"{name}:{folder}")
    woman, man = picture(data.astronaut()), picture(data.camera())
    first = embedded(suite, woman)
    relit = ((woman + 1) / 2).pow(1.6) * 2 - 1
    assert float(first @ embedded(suite, relit)) > suite.same_person
    small = torch.nn.functional.interpolate(woman, scale_factor=0.6, mode="bilinear", antialias=True)
    assert float(first @ embedded(suite, small)) > suite.same_person
    assert float(first @ embedded(suite, man)) < suite.same_person
    (looks,) = suite.describer.look(woman, suite.finder.find(woman)[0])
    assert looks.male is not None
    assert looks.male < 0.5
    assert max(looks.expressions, key=lambda each: looks.expressions[each]) == "happy"


def test_the_miniatures_people_are_told_apart_by_landmarks_anywhere_in_a_frame() -> None:
    faces = held_out_faces(12, 3)
    images, landmarks = render_all(faces, 128)
    recognizer = LandmarkRecognizer(zoo.recognizer("recognizer_convnext"))
    with torch.no_grad():
        embeddings = recognizer(images, landmarks)
        far = torch.full((len(images), 3, 300, 500), -0.3)
        far[..., 150:278, 300:428] = images
        placed = recognizer(far, landmarks + torch.tensor([300.0, 150.0]))
    assert float((embeddings * placed).sum(dim=1).min()) > 0.99
    same = faces.identity.ids[:, None] == faces.identity.ids[None]
    alike = embeddings @ embeddings.T >= 0.27
    pairs = ~torch.eye(len(images), dtype=torch.bool)
    assert float(alike[same & pairs].float().mean()) > 0.85
    assert float(alike[~same].float().mean()) < 0.1
    with pytest.raises(ValueError, match="needs five landmarks"):
        recognizer(images, None)


def test_the_miniatures_describer_says_sex_and_smile_and_no_age() -> None:
    faces = held_out_faces(40, 1)
    images, landmarks = render_all(faces, 128)
    far = torch.full((len(images), 3, 260, 300), -0.3)
    far[..., 100:228, 150:278] = images
    box, shift = torch.zeros(4), torch.tensor([150.0, 100.0])
    found = [Face(box, 1.0, points + shift) for points in landmarks]
    looks = MiniatureDescriber(zoo.attribute_classifier(), zoo.PLACEMENT).look(far, found)
    assert all(each.age is None and set(each.expressions) == {"happy"} for each in looks)
    labels = true_labels(faces)
    male = torch.tensor([each.male > 0.5 for each in looks if each.male is not None])
    happy = torch.tensor([each.expressions["happy"] > 0.5 for each in looks])
    assert float((male == labels["Male"]).float().mean()) >= 0.9
    assert float((happy == labels["Smiling"]).float().mean()) >= 0.85
