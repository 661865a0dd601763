"""Recognition networks of the published shapes, written to files exactly as their publishers do."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.prelu = nn.PReLU(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, data: Tensor) -> Tensor:
        out = self.conv1(self.bn1(data))
        out = self.bn3(self.conv2(self.prelu(self.bn2(out))))
        return out + self.downsample(data)


class IResNet(nn.Module):
    """(3, 4, 14, 3) with widths (64, 64, 128, 256, 512) is the published ResNet-50."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int], embedding: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        self.layers = nn.Sequential(
            *(
                Block(inside if index == 0 else outside, outside, 2 if index == 0 else 1)
                for inside, outside, depth in zip(widths[:-1], widths[1:], depths, strict=True)
                for index in range(depth)
            )
        )
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1] * 7 * 7, embedding)
        self.features = nn.BatchNorm1d(embedding)

    def forward(self, data: Tensor) -> Tensor:
        out = self.layers(self.prelu(self.bn1(self.conv1(data))))
        return self.features(self.fc(self.bn2(out).flatten(1)))


def trained_looking(network: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics as training leaves them, so that no batch norm is an identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            count = module.num_features
            module.running_mean = 0.2 * torch.randn(count, generator=generator)
            module.running_var = 0.5 + torch.rand(count, generator=generator)
            module.weight.data = 0.5 + torch.rand(count, generator=generator)
            module.bias.data = 0.2 * torch.randn(count, generator=generator)
        if isinstance(module, nn.PReLU):
            module.weight.data = 0.5 * torch.rand(module.num_parameters, generator=generator)
    return network.eval().requires_grad_(False)


def export(network: nn.Module, path: Path, size: int = 112) -> Path:
    """Write ONNX as insightface does: evaluation mode, folded batch norm, free batch size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that insightface used is called legacy today
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, size, size),),
            str(path),
            input_names=["input.1"],
            output_names=["embedding"],
            opset_version=11,
            dynamic_axes={"input.1": {0: "batch"}},
            dynamo=False,
        )
    return path


Export = Callable[..., Path]


@pytest.fixture(scope="session")
def export_onnx() -> Export:
    return export


@pytest.fixture(scope="session")
def iresnet() -> Callable[..., nn.Module]:
    """Makes an iresnet with the statistics of a trained one."""

    def make(depths: Sequence[int], widths: Sequence[int], embedding: int = 512) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return trained_looking(IResNet(depths, widths, embedding))

    return make


@pytest.fixture(scope="session")
def small_iresnet(iresnet: Callable[..., nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow one with the published operators, 16 numbers a face."""
    return export(
        iresnet((1, 1, 1, 1), (4, 4, 8, 8, 8), 16), tmp_path_factory.mktemp("arcface") / "small.onnx"
    )
