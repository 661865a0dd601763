"""dlib's residual network for faces: 128 numbers, the same person below a Euclidean distance of 0.6."""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import check_landmarks
from keyface.faces.face_api.layers import ConvSame, normalize
from keyface.faces.face_api.mean import MEAN_DESCRIPTOR
from keyface.faces.face_api.weights import FaceApiNetwork
from keyface.faces.recognition import CropRecognizer
from keyface.faces.squares import crop_squares

SIZE = 150
SAME_PERSON = 0.6
"""Euclidean distance of raw descriptors below which dlib calls two faces the same person."""

# Where the face lies in the crop, as the network was trained: side = distance of eyes and mouth / 0.45, and
# the middle of eyes and mouth at 50 % of the width and 43 % of the height.
_EYES_TO_MOUTH = 0.45
_ACROSS, _DOWN = 0.5, 0.43


class ScaledConv(nn.Module):
    """A convolution followed by a scale and shift of each channel."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = (
            nn.Conv2d(inside, outside, kernel, stride) if stride > 1 else ConvSame(inside, outside, kernel)
        )
        self.scale = nn.ParameterDict({"weight": torch.ones(outside), "bias": torch.zeros(outside)})

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        weight, bias = (self.scale[name].view(1, -1, 1, 1) for name in ("weight", "bias"))
        result: Tensor = self.conv(data) * weight + bias
        return result


class Residual(nn.Module):
    """Two 3×3 convolutions beside the identity; a halving one averages the identity and pads its channels."""

    def __init__(self, inside: int, outside: int, halve: bool = False) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = ScaledConv(inside, outside, 3, 2 if halve else 1)
        self.conv2 = ScaledConv(outside, outside, 3)

    def forward(self, data: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        out: Tensor = self.conv2(self.conv1(data).relu())
        if self.halve:
            data = F.avg_pool2d(data, 2)
            rows, columns = (data.shape[side] - out.shape[side] for side in (-2, -1))
            out = F.pad(out, (0, columns, 0, rows))
            data = F.pad(data, (0, 0, 0, 0, 0, out.shape[1] - data.shape[1]))
        return (out + data).relu()


class DescriptorNetwork(FaceApiNetwork):
    """Embeds crops of faces."""

    MODEL = "face_recognition_model"

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = ScaledConv(3, 32, 7, 2)
        self.conv32_1, self.conv32_2, self.conv32_3 = (Residual(32, 32) for _ in range(3))
        self.conv64_down = Residual(32, 64, halve=True)
        self.conv64_1, self.conv64_2, self.conv64_3 = (Residual(64, 64) for _ in range(3))
        self.conv128_down = Residual(64, 128, halve=True)
        self.conv128_1, self.conv128_2 = (Residual(128, 128) for _ in range(2))
        self.conv256_down = Residual(128, 256, halve=True)
        self.conv256_1, self.conv256_2 = (Residual(256, 256) for _ in range(2))
        self.conv256_down_out = Residual(256, 256, halve=True)
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed (B, 3, 150, 150) in [-1, 1] as (B, 128) of any length."""
        out = F.max_pool2d(self.conv32_down(normalize(faces)).relu(), 3, 2)
        for name, part in self.named_children():
            if name not in ("conv32_down", "fc"):
                out = part(out)
        result: Tensor = self.fc(out.mean(dim=(2, 3)))
        return result


class FaceApiRecognizer(CropRecognizer):
    """The identity network behind keyface's `Recognizer` protocol, differentiable up to the images.

    All descriptors share a large common part, so that the cosine of raw ones says little. The unit vectors
    are those of descriptor minus a fixed mean over several people (`keyface.faces.face_api.mean`).

    Args:
        network: The descriptor network, trained.
    """

    name = "face-api's identity network"
    mean: Tensor

    def __init__(self, network: DescriptorNetwork) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN_DESCRIPTOR), persistent=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the descriptor network from the folder of face-api's files, see `FaceApiNetwork.load`."""
        return cls(DescriptorNetwork.load(folder))

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut faces out as the network's training did, (B, 3, 150, 150)."""
        return crop_squares(images, face_squares(landmarks), SIZE)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops as descriptors (B, 128) without the mean of all faces."""
        embedding: Tensor = self.network(faces) - self.mean
        return embedding


def face_squares(landmarks: Tensor) -> Tensor:
    """Return the squares (B, 3) that the network was trained on, for five landmarks (B, 5, 2)."""
    check_landmarks(landmarks)
    points = landmarks.float()
    eyes, mouth = points[:, :2], points[:, 3:].mean(dim=1)
    side = (eyes - mouth[:, None]).norm(dim=-1).mean(dim=1) / _EYES_TO_MOUTH
    middle = (eyes.sum(dim=1) + mouth) / 3
    return torch.stack([middle[:, 0] - _ACROSS * side, middle[:, 1] - _DOWN * side, side], dim=1)
