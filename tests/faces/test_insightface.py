"""insightface's package on a tiny pack of the published names and shapes."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from keyface.faces.face import Face, Looks
from keyface.faces.insightface import InsightFace

SCORES, BOXES, POINTS = ("448", "471", "494"), ("451", "474", "497"), ("454", "477", "500")
"""Output names of buffalo_l's det_10g.onnx, for cells of 8, 16 and 32 pixels."""

SIDES = (1.0, 2.0, 3.0, 4.0)
"""How many cells the tiny detector's boxes reach to the left, up, right and down."""

FIVE = (-1.0, -0.5, 1.0, -0.5, 0.0, 0.25, -0.75, 1.0, 0.75, 1.0)
"""Where its landmarks are from the cell's corner, cells."""


def detector(path: Path) -> Path:
    """A network with SCRFD's nine outputs, which sees a face in each cell of 8 pixels that is red."""
    nodes, weights = [], {}
    for level, size in enumerate((8, 16, 32)):
        nodes.append(
            helper.make_node(
                "AveragePool", ["input.1"], [f"cells{size}"], kernel_shape=[size] * 2, strides=[size] * 2
            )
        )
        red = np.zeros((2, 3, 1, 1), np.float32)
        red[0, :, 0, 0] = (20, -10, -10) if size == 8 else 0  # of two anchors the first one looks
        bias = np.array([-10 if size == 8 else -30, -30], np.float32)
        heads = {
            SCORES[level]: (red, bias, 1),
            BOXES[level]: (np.zeros((8, 3, 1, 1), np.float32), np.array(SIDES * 2, np.float32), 4),
            POINTS[level]: (np.zeros((20, 3, 1, 1), np.float32), np.array(FIVE * 2, np.float32), 10),
        }
        for name, (weight, offset, width) in heads.items():
            weights |= {f"w{name}": weight, f"b{name}": offset, f"s{name}": np.array([-1, width], np.int64)}
            nodes += [
                helper.make_node("Conv", [f"cells{size}", f"w{name}", f"b{name}"], [f"conv{name}"]),
                helper.make_node("Transpose", [f"conv{name}"], [f"rows{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"rows{name}", f"s{name}"], [f"flat{name}"]),
                helper.make_node("Sigmoid" if name in SCORES else "Identity", [f"flat{name}"], [name]),
            ]
    widths = dict.fromkeys(SCORES, 1) | dict.fromkeys(BOXES, 4) | dict.fromkeys(POINTS, 10)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n" + name, width])
        for name, width in widths.items()
    ]
    return save(path, nodes, weights, ("input.1", [1, 3, "?", "?"]), outputs)


def attributes(path: Path) -> Path:
    """A network with genderage's shapes: male, and older the more red it sees in the middle of the face."""
    weight = np.zeros((3, 3), np.float32)
    weight[2, 0] = 0.1
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["fc1"], transB=1),
    ]
    weights = {"w": weight, "b": np.array([0.1, 0.7, 0.35], np.float32)}
    output = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 3])
    return save(path, nodes, weights, ("data", [1, 3, 96, 96]), [output])


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    source: tuple[str, list[int | str]],
    outputs: list[onnx.ValueInfoProto],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, recognizer_file: Path) -> Path:
    folder: Path = tmp_path_factory.mktemp("buffalo_l")
    detector(folder / "det_10g.onnx")
    attributes(folder / "genderage.onnx")
    shutil.copy(recognizer_file, folder / "w600k_r50.onnx")
    unknown = helper.make_node("Identity", ["data"], ["out"])
    shape = [1, 3, 40, 50]
    save(
        folder / "odd.onnx", [unknown], {}, ("data", shape), [helper.make_tensor_value_info("out", 1, shape)]
    )
    return folder


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
