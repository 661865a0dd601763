"""Inception-ResNet-v1, with the names of facenet-pytorch's published weights."""

import torch
from torch import Tensor, nn


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)

    def forward(self, data: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        result: Tensor = self.bn(self.conv(data)).relu()
        return result


class Inception(nn.Module):
    """Branches whose joined outputs are projected, scaled and added to the input.

    Args:
        branches: Each takes the input.
        joined: Channels of all their outputs.
        channels: Channels of the input.
        scale: Of what is added.
        activate: Whether a ReLU follows.
    """

    def __init__(
        self, branches: list[nn.Module], joined: int, channels: int, scale: float, activate: bool = True
    ) -> None:
        super().__init__()
        self.count = len(branches)
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.conv2d = nn.Conv2d(joined, channels, 1)
        self.scale = scale
        self.activate = activate

    def forward(self, data: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        parts = [getattr(self, f"branch{index}")(data) for index in range(self.count)]
        out: Tensor = data + self.scale * self.conv2d(torch.cat(parts, dim=1))
        return out.relu() if self.activate else out


class Reduction(nn.Module):
    """Halving branches side by side, a maximum among them."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.count = len(branches)
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)

    def forward(self, data: Tensor) -> Tensor:
        """Halve (B, C, H, W)."""
        parts = [getattr(self, f"branch{index}")(data) for index in range(self.count)]
        parts.append(nn.functional.max_pool2d(data, 3, 2))
        return torch.cat(parts, dim=1)


def _chain(*convolutions: Convolution) -> nn.Sequential:
    return nn.Sequential(*convolutions)


def _block35() -> Inception:
    branches = [
        Convolution(256, 32, 1),
        _chain(Convolution(256, 32, 1), Convolution(32, 32, 3, 1, 1)),
        _chain(Convolution(256, 32, 1), Convolution(32, 32, 3, 1, 1), Convolution(32, 32, 3, 1, 1)),
    ]
    return Inception(branches, 96, 256, 0.17)


def _block17() -> Inception:
    long = _chain(
        Convolution(896, 128, 1),
        Convolution(128, 128, (1, 7), 1, (0, 3)),
        Convolution(128, 128, (7, 1), 1, (3, 0)),
    )
    return Inception([Convolution(896, 128, 1), long], 256, 896, 0.1)


def _block8(scale: float, activate: bool = True) -> Inception:
    long = _chain(
        Convolution(1792, 192, 1),
        Convolution(192, 192, (1, 3), 1, (0, 1)),
        Convolution(192, 192, (3, 1), 1, (1, 0)),
    )
    return Inception([Convolution(1792, 192, 1), long], 384, 1792, scale, activate)


class InceptionResnetV1(nn.Module):
    """FaceNet's network: 512 numbers for a face of 160 by 160 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = Convolution(3, 32, 3, 2)
        self.conv2d_2a = Convolution(32, 32, 3)
        self.conv2d_2b = Convolution(32, 64, 3, 1, 1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = Convolution(64, 80, 1)
        self.conv2d_4a = Convolution(80, 192, 3)
        self.conv2d_4b = Convolution(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            [
                Convolution(256, 384, 3, 2),
                _chain(Convolution(256, 192, 1), Convolution(192, 192, 3, 1, 1), Convolution(192, 256, 3, 2)),
            ]
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            [
                _chain(Convolution(896, 256, 1), Convolution(256, 384, 3, 2)),
                _chain(Convolution(896, 256, 1), Convolution(256, 256, 3, 2)),
                _chain(Convolution(896, 256, 1), Convolution(256, 256, 3, 1, 1), Convolution(256, 256, 3, 2)),
            ]
        )
        self.repeat_3 = nn.Sequential(*(_block8(0.2) for _ in range(5)))
        self.block8 = _block8(1.0, activate=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed (B, 3, 160, 160), about [-1, 1], as (B, 512) of any length."""
        out = faces
        for name, part in self.named_children():
            if name not in ("last_linear", "last_bn"):
                out = part(out)
        result: Tensor = self.last_bn(self.last_linear(out.mean(dim=(2, 3))))
        return result
