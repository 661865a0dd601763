"""insightface's networks run by torch: parity with onnxruntime, gradients, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from keyface.faces.alignment import TEMPLATE, align
from keyface.faces.arcface.onnx_graph import OnnxGraph
from keyface.faces.arcface.recognizer import ArcFace

LANDMARKS = torch.tensor(TEMPLATE)[None]


def by_onnxruntime(path: Path, faces: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: faces.numpy()})
    return torch.from_numpy(result)


def random_faces(count: int) -> Tensor:
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_published_shape_agrees_with_onnxruntime(
    iresnet: Callable[..., nn.Module], export_onnx: Callable[..., Path], tmp_path: Path
) -> None:
    """ResNet-50 as in buffalo_l's w600k_r50.onnx: 43.6 M weights, 512 numbers a face."""
    path = export_onnx(iresnet((3, 4, 14, 3), (64, 64, 128, 256, 512)), tmp_path / "w600k_r50.onnx")
    network = OnnxGraph.from_file(path)
    assert network.kinds == {"Add", "BatchNormalization", "Conv", "Flatten", "Gemm", "PRelu"}
    assert network.size == (112, 112)
    faces = random_faces(2)
    with torch.inference_mode():
        ours = network(faces)
    expected = by_onnxruntime(path, faces)
    assert ours.shape == (2, 512)
    scale = expected.abs().max()
    torch.testing.assert_close(ours / scale, expected / scale, atol=1e-4, rtol=0)
    ours, expected = (torch.nn.functional.normalize(each, dim=-1) for each in (ours, expected))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_whole_frames_are_aligned_inside_the_graph(small_iresnet: Path) -> None:
    network = ArcFace.from_file(small_iresnet)
    frames = torch.rand(2, 3, 140, 130, generator=torch.Generator().manual_seed(2)) * 2 - 1
    landmarks = LANDMARKS * 0.9 + torch.tensor([[[9.0, 12.0]], [[3.0, 20.0]]])
    embedding = network(frames, landmarks)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    expected = by_onnxruntime(small_iresnet, align(frames, landmarks))
    torch.testing.assert_close(embedding, expected / expected.norm(dim=-1, keepdim=True), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="small needs five landmarks"):
        network(frames, None)


def test_gradients_are_those_of_finite_differences(small_iresnet: Path) -> None:
    """In double precision, through alignment, network and normalization, along random directions."""
    network = ArcFace.from_file(small_iresnet).double()
    generator = torch.Generator().manual_seed(3)
    frame = torch.rand(1, 3, 112, 112, dtype=torch.float64, generator=generator) * 2 - 1
    reference = torch.nn.functional.normalize(
        torch.randn(16, dtype=torch.float64, generator=generator), dim=0
    )

    def similarity(image: Tensor) -> Tensor:
        # `align` computes in fp32; the network alone is what finite differences can resolve.
        embedding = network.network(image)
        return torch.nn.functional.normalize(embedding, dim=-1)[0] @ reference

    frame.requires_grad_(True)
    (gradient,) = torch.autograd.grad(similarity(frame), frame)
    for _ in range(4):
        direction = torch.randn(frame.shape, dtype=torch.float64, generator=generator)
        step = 1e-6
        with torch.no_grad():
            numeric = (similarity(frame + step * direction) - similarity(frame - step * direction)) / (
                2 * step
            )
        assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=1e-4)


def test_gradients_reach_the_frame_through_the_alignment_and_no_weight(small_iresnet: Path) -> None:
    network = ArcFace.from_file(small_iresnet)
    frame = torch.zeros(1, 3, 160, 160, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(frame, LANDMARKS + 20)[0, 0], frame)
    assert gradient.isfinite().all()
    inside, outside = gradient[..., 25:125, 25:125], gradient[..., 145:, 145:]
    assert inside.abs().sum() > 0
    assert outside.abs().sum() == 0, "the corner is not in the aligned crop"
    assert all(not each.requires_grad for each in network.parameters())
    assert not list(network.buffers()), "processes that train together send those to each other at each step"
    assert not network.state_dict(), "frozen weights stay out of checkpoints"


def write(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], side: int = 112) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [None, 3, side, side])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]), str(path))
    return path


def test_networks_from_mxnet_normalize_by_themselves(tmp_path: Path) -> None:
    """They begin with (x - 127.5) / 128 and want 0 to 255, as insightface's own reader finds out."""
    nodes = [
        helper.make_node("Sub", ["data", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("GlobalAveragePool", ["scaled"], ["pooled"]),
        helper.make_node("Dropout", ["pooled"], ["kept", "mask"]),
        helper.make_node("Flatten", ["kept"], ["out"]),
    ]
    weights = {"mean": np.array([127.5], np.float32), "scale": np.array([1 / 128], np.float32)}
    network = ArcFace.from_file(write(tmp_path / "mxnet.onnx", nodes, weights))
    assert network.normalizes
    frame = torch.tensor([0.6, -0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 112, 112)
    expected = torch.tensor([0.6, -0.2, 0.1])
    torch.testing.assert_close(network(frame, LANDMARKS)[0], expected / expected.norm(), atol=1e-4, rtol=0)


def test_constants_and_uneven_padding(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight))
    nodes = [
        constant,
        helper.make_node("Conv", ["data", "w"], ["conv"], pads=[0, 1, 1, 2], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["out"]),
    ]
    path = write(tmp_path / "conv.onnx", nodes, {})
    faces = random_faces(2)
    torch.testing.assert_close(
        OnnxGraph.from_file(path)(faces), by_onnxruntime(path, faces), atol=1e-5, rtol=1e-5
    )


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        ArcFace.from_file(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no network at all")
    with pytest.raises(ValueError, match="not an ONNX"):
        ArcFace.from_file(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="not an ONNX"):
        ArcFace.from_file(tmp_path / "empty.onnx")
    softmax = [
        helper.make_node("Softmax", ["data"], ["soft"]),
        helper.make_node("Flatten", ["soft"], ["out"]),
    ]
    with pytest.raises(ValueError, match="needs the operators Softmax"):
        ArcFace.from_file(write(tmp_path / "softmax.onnx", softmax, {}))
    flatten = [helper.make_node("Flatten", ["data"], ["out"])]
    with pytest.raises(ValueError, match=r"takes pictures of \(640, 640\)"):
        ArcFace.from_file(write(tmp_path / "detector.onnx", flatten, {}, side=640))
    dangling = [helper.make_node("Flatten", ["nowhere"], ["out"])]
    with pytest.raises(ValueError, match="reads 'nowhere', which nothing made"):
        ArcFace.from_file(write(tmp_path / "dangling.onnx", dangling, {}))
    foreign = [helper.make_node("Add", ["data", "data"], ["out"], domain="com.evil")]
    with pytest.raises(ValueError, match="foreign domain"):
        ArcFace.from_file(write(tmp_path / "foreign.onnx", foreign, {}))


def test_a_truncated_file_is_refused(small_iresnet: Path, tmp_path: Path) -> None:
    content = small_iresnet.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut\.onnx: "):
        ArcFace.from_file(tmp_path / "cut.onnx")


def test_weights_in_other_files_are_not_opened(small_iresnet: Path, tmp_path: Path) -> None:
    model = onnx.load(str(small_iresnet))
    onnx.external_data_helper.convert_model_to_external_data(model, location="canary.bin", size_threshold=0)
    path = tmp_path / "outside.onnx"
    onnx.save(model, str(path))
    (tmp_path / "canary.bin").unlink()
    with pytest.raises(ValueError, match="keeps weights in other files"):
        ArcFace.from_file(path)
