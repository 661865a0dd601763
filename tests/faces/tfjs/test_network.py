"""Graphs of TensorFlow.js that are written here, against what TensorFlow computes by its documentation."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keyface.faces.tfjs import GraphNetwork

from .graph_files import image, node, write_graph

RANDOM = np.random.default_rng(0)


def run(path: Path, images: Any, *outputs: str) -> list[np.ndarray]:
    """Compute outputs for images (B, H, W, C)."""
    network = GraphNetwork.load(path, outputs)
    data = torch.from_numpy(np.asarray(images, np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return [value.numpy() for value in network(data)]


def convolve(
    images: np.ndarray, kernel: np.ndarray, stride: int, same: bool, depthwise: bool = False
) -> np.ndarray:
    """Convolve as TensorFlow's guide to padding has it, in loops."""
    _, height, width, _ = images.shape
    rows, columns = kernel.shape[:2]
    if same:
        high, wide = math.ceil(height / stride), math.ceil(width / stride)
        down = max((high - 1) * stride + rows - height, 0)
        across = max((wide - 1) * stride + columns - width, 0)
        margins = ((0, 0), (down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
        images = np.pad(images, margins)
    else:
        high, wide = (height - rows) // stride + 1, (width - columns) // stride + 1
    out = []
    for row in range(high):
        for column in range(wide):
            part = images[:, row * stride : row * stride + rows, column * stride : column * stride + columns]
            if depthwise:
                out.append(np.einsum("bhwc,hwcm->bcm", part, kernel).reshape(len(images), -1))
            else:
                out.append(np.einsum("bhwc,hwco->bo", part, kernel))
    return np.stack(out, axis=1).reshape(len(images), high, wide, -1)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("stride", "side"), [(1, 3), (2, 3), (2, 5), (1, 1), (2, 1)])
def test_convolutions(same: bool, stride: int, side: int, tmp_path: Path) -> None:
    images = RANDOM.normal(size=(2, 8, 7, 3))
    kernel, bias = RANDOM.normal(size=(side, side, 3, 4)), RANDOM.normal(size=4)
    slopes, spread = RANDOM.normal(size=(1, 1, 4)), RANDOM.normal(size=(side, side, 3, 2))
    settings: dict[str, Any] = {
        "strides": [1, stride, stride, 1],
        "padding": "SAME" if same else "VALID",
        "dilations": [1, 1, 1, 1],
        "data_format": "NHWC",
    }
    fused = {**settings, "fused_ops": ["BiasAdd", "Prelu"]}
    nodes = [
        image(8, 7, 3),
        node("plain", "Conv2D", "image", "kernel", **settings),
        node("fused", "_FusedConv2D", "image", "kernel", "bias", "slopes", **fused),
        node("each", "DepthwiseConv2dNative", "image", "spread", **settings),
    ]
    constants = {"kernel": kernel, "bias": bias, "slopes": slopes, "spread": spread}
    path = write_graph(tmp_path / "net.json", nodes, constants)
    plain, activated, each = run(path, images, "plain", "fused", "each")
    expected = convolve(images, kernel, stride, same)
    np.testing.assert_allclose(plain, expected, atol=1e-4)
    shifted = expected + bias
    np.testing.assert_allclose(
        activated, np.where(shifted < 0, shifted * slopes.flatten(), shifted), atol=1e-4
    )
    np.testing.assert_allclose(each, convolve(images, spread, stride, same, depthwise=True), atol=1e-4)


def test_pools_shapes_and_reductions(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 5, dtype=float).reshape(2, 4, 5, 1) - 10
    pool = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "data_format": "NHWC"}
    nodes = [
        image(4, 5, 1),
        node("max", "MaxPool", "image", padding="SAME", **pool),
        node("mean", "AvgPool", "image", padding="VALID", **pool),
        node("padded", "Pad", "image", "margins"),
        node("flat", "Reshape", "image", "one"),
        node("kept", "Mean", "image", "sides", keep_dims=True),
        node("sum", "Sum", "image", "sides", keep_dims=False),
        node("bare", "Squeeze", "kept", squeeze_dims=[1, 2]),
    ]
    constants = {
        "margins": np.array([[0, 0], [1, 0], [0, 2], [0, 1]]),
        "one": np.array([1, 20]),  # written for a single image
        "sides": np.array([1, 2]),
    }
    path = write_graph(tmp_path / "net.json", nodes, constants)
    names = ("max", "mean", "padded", "flat", "kept", "sum", "bare")
    found = dict(zip(names, run(path, images, *names), strict=True))
    # "Same" adds a column on the right, which never wins although all values of the first image are negative.
    np.testing.assert_array_equal(found["max"][0, ..., 0], [[-4, -2, -1], [6, 8, 9]])
    np.testing.assert_array_equal(found["mean"][0, ..., 0], [[-7, -5], [3, 5]])
    np.testing.assert_array_equal(found["padded"], np.pad(images, ((0, 0), (1, 0), (0, 2), (0, 1))))
    np.testing.assert_array_equal(found["flat"], images.reshape(2, 20))
    np.testing.assert_array_equal(found["kept"], images.mean(axis=(1, 2), keepdims=True))
    np.testing.assert_array_equal(found["sum"], images.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["bare"], images.mean(axis=(1, 2)))


def test_matrices_and_activations(tmp_path: Path) -> None:
    images = RANDOM.normal(size=(2, 1, 1, 3)) * 5
    weights, bias = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=2)
    nodes = [
        image(1, 1, 3),
        node("flat", "Reshape", "image", "shape"),
        node("plain", "MatMul", "flat", "weights", transpose_a=False, transpose_b=False),
        node("turned", "MatMul", "flat", "turned_weights", transpose_b=True),
        node("fused", "_FusedMatMul", "flat", "weights", "bias", fused_ops=["BiasAdd", "Relu"]),
        node("likely", "Softmax", "plain"),
        node("six", "Relu6", "image"),
        node("low", "Maximum", "image", "limit"),
        node("high", "Minimum", "limit", "image"),
        node("all", "AddN", "image", "low", "high"),
        node("difference", "Sub", "limit", "image"),
        node("size", "Abs", "difference"),
        node("square", "Square", "image"),
        node("root", "Rsqrt", "square"),
        node("curve", "Sigmoid", "image"),
    ]
    constants = {
        "shape": np.array([-1, 3]),
        "weights": weights,
        "turned_weights": weights.T,
        "bias": bias,
        "limit": np.array(0.5),
    }
    path = write_graph(tmp_path / "net.json", nodes, constants)
    flat = images.reshape(2, 3)
    product = flat @ weights
    powers = np.exp(product - product.max(axis=1, keepdims=True))
    low, high = np.maximum(images, 0.5), np.minimum(images, 0.5)
    expected = {
        "plain": product,
        "turned": product,
        "fused": np.maximum(product + bias, 0),
        "likely": powers / powers.sum(axis=1, keepdims=True),
        "six": np.clip(images, 0, 6),
        "all": images + low + high,
        "size": abs(0.5 - images),
        "root": 1 / abs(images),
        "curve": 1 / (1 + np.exp(-images)),
    }
    for found, (name, value) in zip(run(path, images, *expected), expected.items(), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_enlarging(tmp_path: Path) -> None:
    images = np.array([[0.0, 4.0], [8.0, 12.0]]).reshape(1, 2, 2, 1)
    nodes = [
        image(2, 2, 1),
        node("large", "ResizeBilinear", "image", "size", half_pixel_centers=True, align_corners=False),
        node(
            "spread",
            "Conv2DBackpropInput",
            "sizes",
            "kernel",
            "image",
            strides=[1, 2, 2, 1],
            padding="SAME",
        ),
    ]
    constants = {
        "size": np.array([4, 4]),
        "sizes": np.array([1, 4, 4, 1]),
        "kernel": np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1),
    }
    path = write_graph(tmp_path / "net.json", nodes, constants)
    large, spread = run(path, images, "large", "spread")
    np.testing.assert_allclose(large[0, 0, :, 0], [0, 1, 3, 4], atol=1e-6)
    np.testing.assert_allclose(large[0, :, 0, 0], [0, 2, 6, 8], atol=1e-6)
    np.testing.assert_allclose(spread[0, ..., 0], np.kron(images[0, ..., 0], [[1, 2], [3, 4]]))


def test_memory_is_only_taken_from_what_nobody_needs(tmp_path: Path) -> None:
    kernel = RANDOM.normal(size=(1, 1, 2, 2))
    settings: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    nodes = [
        image(2, 2, 2),
        node("made", "Conv2D", "image", "kernel", **settings),
        node("seen", "Reshape", "made", "shape"),  # the same memory by another name
        node("more", "Add", "made", "one"),
        node("twice", "Mul", "more", "more"),
        node("again", "Conv2D", "image", "kernel", **settings),
        node("positive", "Relu", "again"),
        node("kept", "Add", "again", "positive"),
        node("end", "Add", "seen", "flat_one"),
        node("input", "Relu", "image"),
        node("output", "Add", "input", "image"),
    ]
    constants = {"kernel": kernel, "shape": np.array([-1, 8]), "one": np.array(1.0), "flat_one": np.ones(8)}
    path = write_graph(tmp_path / "net.json", nodes, constants)
    images = RANDOM.normal(size=(3, 2, 2, 2)).astype(np.float32)
    given = images.copy()
    made = images @ kernel[0, 0]
    expected = {
        "twice": (made + 1) ** 2,
        "kept": made + np.maximum(made, 0),
        "end": made.reshape(3, 8) + 1,
        "output": images + np.maximum(images, 0),
        "positive": np.maximum(made, 0),
    }
    found = run(path, images, *expected)
    for value, (name, wanted) in zip(found, expected.items(), strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(images, given)
    network = GraphNetwork.load(path, tuple(expected))
    leaf = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_(True)
    for with_gradients, without in zip(network(leaf), found, strict=True):
        np.testing.assert_array_equal(with_gradients.detach().numpy(), without)


def test_gradients_reach_the_image(tmp_path: Path) -> None:
    kernel = RANDOM.normal(size=(3, 3, 2, 3))
    nodes = [
        image(5, 5, 2),
        node("made", "Conv2D", "image", "kernel", strides=[1, 2, 2, 1], padding="SAME"),
        node("more", "Add", "made", "one"),
        node("curve", "Sigmoid", "more"),
        node("mean", "Mean", "curve", "sides", keep_dims=False),
    ]
    constants = {"kernel": kernel, "one": np.ones(3), "sides": np.array([1, 2])}
    network = GraphNetwork.load(write_graph(tmp_path / "net.json", nodes, constants), ("mean",)).double()
    leaf = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)

    def mean(images: Tensor) -> Tensor:
        value: Tensor = network(images)[0]
        return value

    assert torch.autograd.gradcheck(mean, (leaf,))


def test_half_precision_weights(tmp_path: Path) -> None:
    nodes = [image(1, 1, 2), node("out", "Mul", "image", "factors")]
    path = write_graph(tmp_path / "net.json", nodes, {"factors": np.array([0.1, 3.0])}, halves=True)
    (found,) = run(path, np.ones((1, 1, 1, 2)), "out")
    assert found.flatten().tolist() == [float(np.float16(0.1)), 3.0]


SIMPLE = [image(2, 2, 1), node("out", "Mul", "image", "factor")]
FACTOR = {"factor": np.array(2.0)}
CONV: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([image(2, 2, 1), node("out", "Unheard", "image")], {}, r"out \(Unheard\).*is not supported"),
        ([image(2, 2, 1), node("out", "Mul", "image", "gone")], {}, "there is no node gone"),
        ([node("out", "Abs", "out")], {}, "no graph of TensorFlow.js"),
        (
            [image(2, 2, 1), node("a", "Abs", "b"), node("out", "Abs", "a"), node("b", "Abs", "a")],
            {},
            "cycle",
        ),
        ([node("out", "Abs", "factor")], FACTOR, "0 inputs, not one"),
        ([image(2, 2), node("out", "Abs", "image")], {}, "the input is no image"),
        ([image(2, 2, 10**9), node("out", "Abs", "image")], {}, "the input is no image"),
        ([image(2, 2, 1), node("out", "Mul", "image:1", "factor")], FACTOR, "takes output 1"),
        ([*SIMPLE, node("far", "Reshape", "out", "image")], FACTOR, None),
        (
            [image(2, 2, 1), node("out", "Reshape", "image", "shape")],
            {"shape": np.array([-1, 7])},
            r"node out \(Reshape\)",
        ),
        (
            [image(2, 2, 1), node("out", "Pad", "image", "margins")],
            {"margins": np.array([[0, 0], [10**5, 10**5], [10**5, 10**5], [0, 0]])},
            r"node out \(Pad\) gives \d+ numbers",
        ),
        (
            [image(2, 2, 1), node("out", "Pad", "image", "margins")],
            {"margins": np.array([[0, 0], [-1, 0], [0, 0], [0, 0]])},
            "are not understood",
        ),
        (
            [image(2, 2, 1), node("out", "ResizeBilinear", "image", "size", half_pixel_centers=True)],
            {"size": np.array([2 * 10**9, 2 * 10**9])},
            r"node out \(ResizeBilinear\)",
        ),
        (
            [image(2, 2, 1), node("out", "Conv2D", "image", "kernel", **CONV)],
            {"kernel": np.ones((3, 3, 2, 1))},
            r"node out \(Conv2D\)",
        ),
        (
            [image(2, 2, 1), node("out", "Conv2D", "image", "kernel", **{**CONV, "strides": [1, 0, 1, 1]})],
            {"kernel": np.ones((3, 3, 1, 1))},
            "strides .* is not understood",
        ),
        (
            [
                image(2, 2, 1),
                node("wide", "Reshape", "image", "row"),
                node("out", "Sum", "wide", "first", keep_dims=True),
            ],
            {"row": np.array([1, 4]), "first": np.array([0])},
            "out is not one value for each image",
        ),
    ],
)
def test_damaged_and_hostile_graphs_are_one_line(
    nodes: list[dict[str, Any]], constants: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "net.json", nodes, constants)
    if message is None:  # what no output needs is not looked at
        GraphNetwork.load(path, ("out",))
        return
    with pytest.raises(ValueError, match=message) as error:
        GraphNetwork.load(path, ("out",))
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks net\.json, net\.bin; run `keyface weights"):
        GraphNetwork.load(tmp_path / "net.json", ("out",))
    path = write_graph(tmp_path / "net.json", SIMPLE, FACTOR)
    content = path.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"net\.bin: 3 bytes, the manifest describes 4"):
        GraphNetwork.load(path, ("out",))
    path.with_suffix(".bin").write_bytes(content)
    good = json.loads(path.read_text())
    functions = {"function": [{"signature": {}}]}
    for text in ("not JSON", "[]", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"net\.json: .*(JSON|an object|deep)"):
            GraphNetwork.load(path, ("out",))
    for damaged in (
        json.dumps({**good, "weightsManifest": [{"weights": [{"name": "factor"}]}]}),
        json.dumps({**good, "modelTopology": {**good["modelTopology"], "library": functions}}),
        json.dumps({**good, "modelTopology": {"node": [{"name": "out"}]}}),
    ):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"net\.json: no graph of TensorFlow\.js"):
            GraphNetwork.load(path, ("out",))
    path.write_text(json.dumps({**good, "weightsManifest": []}))
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"net\.json: has no weights for factor"):
        GraphNetwork.load(path, ("out",))
    path.write_text(" " * 2**22)
    with pytest.raises(ValueError, match="larger than"):
        GraphNetwork.load(path, ("out",))
