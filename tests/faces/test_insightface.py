"""insightface's package on a tiny pack of the published names and shapes."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_insightface import FIVE, POINTS, tiny_pack
from torch import Tensor

from keyface.faces.face import Face, Looks
from keyface.faces.insightface import InsightFace


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, recognizer_file: Path) -> Path:
    return tiny_pack(tmp_path_factory.mktemp("buffalo_l"), recognizer_file)


def frames(*corners: tuple[int, int], width: int = 640, height: int = 480, cell: int = 8) -> Tensor:
    """Grey frames, each with one red cell at (x, y)."""
    images = torch.zeros(len(corners), 3, height, width)
    for image, (x, y) in zip(images, corners, strict=True):
        image[:, y : y + cell, x : x + cell] = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    return images


def test_faces_lie_where_the_package_finds_them(pack: Path) -> None:
    finder = InsightFace.load(pack)
    assert finder.knows == "real faces"
    found = finder.find(frames((240, 160), (8, 400)))
    assert [len(faces) for faces in found] == [1, 1]
    for (face,), (x, y) in zip(found, ((240.0, 160.0), (8.0, 400.0)), strict=True):
        assert face.box.tolist() == pytest.approx([x - 8, y - 16, x + 24, y + 32])
        expected = [[x + 8 * FIVE[n], y + 8 * FIVE[n + 1]] for n in range(0, 10, 2)]
        torch.testing.assert_close(face.landmarks, torch.tensor(expected))
        assert face.points is None
        # A red cell is 1 - 1/256 and -1 + 1/256 as the package scales it: the logit is 40 · that - 10.
        assert face.score == pytest.approx(1 / (1 + np.exp(-(40 * 127.5 / 128 - 10))), abs=1e-4)
    (twice,) = finder.find(frames((480, 320), width=1280, height=960, cell=16))[0]
    assert twice.box.tolist() == pytest.approx([480 - 16, 320 - 32, 480 + 48, 320 + 64])


def test_the_surest_face_comes_first_and_colours_are_not_swapped(pack: Path) -> None:
    finder = InsightFace.load(pack)
    image = frames((400, 96))
    image[:, :, 240:248, 80:88] = torch.tensor([0.6, -0.6, -0.6]).view(3, 1, 1)
    first, second = finder.find(image)[0]
    assert first.box[0] == 392
    assert second.box[0] == 72
    assert first.score > second.score
    assert finder.find(image.flip(1)) == [[]], "blue is no red"
    assert finder.find(torch.zeros(2, 3, 100, 100)) == [[], []]


def test_age_and_sex_are_those_of_the_packs_network(pack: Path) -> None:
    finder = InsightFace.load(pack)
    images = torch.zeros(2, 3, 200, 200)
    images[0, 0] = 1.0  # red: (255 - 127.5) / 128 of .1 more
    face = Face(torch.tensor([60.0, 60.0, 140.0, 140.0]), 0.9, torch.zeros(5, 2))
    red, grey = finder.look(images, [face, face])
    assert red == Looks(age=45.0, male=1.0)
    assert grey == Looks(age=35.0, male=1.0)


def test_a_pack_without_attributes_says_nothing_of_looks(pack: Path, tmp_path: Path) -> None:
    for name in ("det_10g.onnx", "w600k_r50.onnx"):
        shutil.copy(pack / name, tmp_path)
    finder = InsightFace.load(tmp_path)
    face = Face(torch.tensor([60.0, 60.0, 140.0, 140.0]), 0.9, torch.zeros(5, 2))
    assert finder.look(torch.zeros(1, 3, 200, 200), [face]) == [Looks()]


def test_the_recognizer_is_the_packs_network_on_aligned_faces(pack: Path) -> None:
    finder = InsightFace.load(pack)
    image = frames((240, 160))
    (face,) = finder.find(image)[0]
    embedding = finder.recognizer(image, face.landmarks[None])
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1))
    assert finder.recognizer.name == "w600k_r50"


def test_what_a_pack_lacks_is_said_and_nothing_is_fetched(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError, match="buffalo_xl: no pack of insightface"):
        InsightFace.load(tmp_path / "buffalo_xl")
    shutil.copy(pack / "odd.onnx", tmp_path)
    with pytest.raises(ValueError, match=r"no recognition network for faces of 112 pixels"):
        InsightFace.load(tmp_path)
    shutil.copy(pack / "w600k_r50.onnx", tmp_path)
    with pytest.raises(ValueError, match=r"knows no face detector among odd.onnx, w600k_r50.onnx"):
        InsightFace.load(tmp_path)
    (tmp_path / "det_10g.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"det_10g.onnx: not an ONNX"):
        InsightFace.load(tmp_path)
    assert not (tmp_path / "home").exists()


def test_a_detector_without_landmarks_is_refused(pack: Path, tmp_path: Path) -> None:
    for path in pack.glob("*.onnx"):
        shutil.copy(path, tmp_path)
    model = onnx.load(str(pack / "det_10g.onnx"))
    for output in list(model.graph.output):
        if output.name in POINTS:
            model.graph.output.remove(output)
    onnx.save(model, str(tmp_path / "det_10g.onnx"))
    with pytest.raises(ValueError, match="its detector gives no landmarks"):
        InsightFace.load(tmp_path)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="onnxruntime has the GPU"
)
def test_a_gpu_that_onnxruntime_does_not_use_is_said(pack: Path) -> None:
    with pytest.warns(UserWarning, match="asked to run on cuda, and onnxruntime runs on the CPU only"):
        finder = InsightFace.load(pack, "cuda")
    assert len(finder.find(frames((240, 160)))[0]) == 1
    with pytest.raises(ValueError, match="onnxruntime runs on the CPU only: pip uninstall onnxruntime"):
        InsightFace.load(pack, "cuda", strict=True)
