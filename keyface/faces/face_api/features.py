"""Landmarks, expression, age and gender from crops of faces of 112 pixels."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.face_api.layers import ConvSame, SeparableConv, max_pool_same, normalize
from keyface.faces.face_api.weights import FaceApiNetwork

SIZE = 112
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


class DenseBlock(nn.Module):
    """Four 3×3 convolutions, each fed with the sum of all before it."""

    def __init__(self, inside: int, outside: int, first: bool = False) -> None:
        super().__init__()
        self.conv0 = ConvSame(inside, outside, 3, 2) if first else SeparableConv(inside, outside, 2)
        self.conv1, self.conv2, self.conv3 = (SeparableConv(outside, outside) for _ in range(3))

    def forward(self, data: Tensor) -> Tensor:
        """Halve (B, C, H, W)."""
        total: Tensor = self.conv0(data).relu()
        for layer in (self.conv1, self.conv2, self.conv3):
            total = total + layer(total.relu())
        return total.relu()


class DenseNetwork(FaceApiNetwork):
    """Four dense blocks and a linear layer.

    Args:
        outputs: Numbers that it gives.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.dense0 = DenseBlock(3, 32, first=True)
        self.dense1, self.dense2, self.dense3 = (DenseBlock(32 * 2**k, 64 * 2**k) for k in range(3))
        self.fc = nn.Linear(256, outputs)

    def forward(self, faces: Tensor) -> Tensor:
        """Return (B, outputs) for crops (B, 3, 112, 112) in [-1, 1]."""
        out = self.dense3(self.dense2(self.dense1(self.dense0(normalize(faces)))))
        result: Tensor = self.fc(F.avg_pool2d(out, 7, 2).flatten(1))
        return result


class LandmarkNetwork(DenseNetwork):
    """68 landmarks in the order of the iBUG set."""

    MODEL = "face_landmark_68_model"

    def __init__(self) -> None:
        super().__init__(outputs=136)

    def forward(self, faces: Tensor) -> Tensor:
        """Return (B, 68, 2), x and y as fractions of the side, for crops (B, 3, 112, 112) in [-1, 1]."""
        return super().forward(faces).reshape(-1, 68, 2)


class ExpressionNetwork(DenseNetwork):
    """Which of seven expressions a face shows."""

    MODEL = "face_expression_model"

    def __init__(self) -> None:
        super().__init__(outputs=len(EXPRESSIONS))

    def forward(self, faces: Tensor) -> Tensor:
        """Return probabilities (B, 7) of `EXPRESSIONS`, for crops (B, 3, 112, 112) in [-1, 1]."""
        return super().forward(faces).softmax(dim=-1)


class AgeGender(NamedTuple):
    """What a face looks like to the network.

    Attributes:
        age: (B,) years.
        male: (B,) probability.
    """

    age: Tensor
    male: Tensor


class ReductionBlock(nn.Module):
    """Two separable convolutions and a halving beside a 1×1 convolution."""

    def __init__(self, inside: int, outside: int, activate: bool = True) -> None:
        super().__init__()
        self.activate = activate
        self.separable_conv0 = SeparableConv(inside, outside)
        self.separable_conv1 = SeparableConv(outside, outside)
        self.expansion_conv = ConvSame(inside, outside, 1, 2)

    def forward(self, data: Tensor) -> Tensor:
        """Halve (B, C, H, W)."""
        out = self.separable_conv0(data.relu() if self.activate else data)
        out = max_pool_same(self.separable_conv1(out.relu()), 3, 2)
        result: Tensor = out + self.expansion_conv(data)
        return result


class MainBlock(nn.Module):
    """Three separable convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1, self.separable_conv2 = (
            SeparableConv(channels, channels) for _ in range(3)
        )

    def forward(self, data: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        out = data
        for layer in (self.separable_conv0, self.separable_conv1, self.separable_conv2):
            out = layer(out.relu())
        return out + data


class AgeGenderNetwork(FaceApiNetwork):
    """A small Xception."""

    MODEL = "age_gender_model"

    def __init__(self) -> None:
        super().__init__()
        self.entry_flow = nn.ModuleDict(
            {
                "conv_in": ConvSame(3, 32, 3, 2),
                "reduction_block_0": ReductionBlock(32, 64, activate=False),
                "reduction_block_1": ReductionBlock(64, 128),
            }
        )
        self.middle_flow = nn.ModuleDict({f"main_block_{index}": MainBlock(128) for index in range(2)})
        self.exit_flow = nn.ModuleDict(
            {"reduction_block": ReductionBlock(128, 256), "separable_conv": SeparableConv(256, 512)}
        )
        self.fc = nn.ModuleDict({"age": nn.Linear(512, 1), "gender": nn.Linear(512, 2)})

    def forward(self, faces: Tensor) -> AgeGender:
        """Return age and gender of crops (B, 3, 112, 112) in [-1, 1]."""
        out = self.entry_flow["conv_in"](normalize(faces)).relu()
        for flow in (self.entry_flow, self.middle_flow, self.exit_flow):
            for name, part in flow.items():
                if name != "conv_in":
                    out = part(out)
        pooled = F.avg_pool2d(out.relu(), 7, 2).flatten(1)
        return AgeGender(self.fc["age"](pooled)[:, 0], self.fc["gender"](pooled).softmax(dim=-1)[:, 0])


def five_of_68(landmarks: Tensor) -> Tensor:
    """Take the five landmarks (B, 5, 2), eyes, nose tip and mouth corners, out of iBUG's (B, 68, 2)."""
    eyes = torch.stack([landmarks[:, 36:42].mean(dim=1), landmarks[:, 42:48].mean(dim=1)], dim=1)
    return torch.cat([eyes, landmarks[:, [30, 48, 54]]], dim=1)
