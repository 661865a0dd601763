"""A tiny pack of insightface: networks of the published names and shapes that see red."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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


def tiny_pack(folder: Path, recognizer: Path) -> Path:
    """Write a pack: detector, attribute network, recognizer, and a network that insightface does not know."""
    detector(folder / "det_10g.onnx")
    attributes(folder / "genderage.onnx")
    shutil.copy(recognizer, folder / "w600k_r50.onnx")
    unknown = helper.make_node("Identity", ["data"], ["out"])
    shape = [1, 3, 40, 50]
    save(
        folder / "odd.onnx", [unknown], {}, ("data", shape), [helper.make_tensor_value_info("out", 1, shape)]
    )
    return folder
