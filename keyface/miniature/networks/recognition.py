"""Identity networks: one for Eq. 5, three of other architectures for evaluation."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import align
from keyface.miniature.networks.blocks import ConvNormAct
from keyface.miniature.networks.face_finder import FaceFinder

Architecture = Literal["iresnet", "vgg", "convnext", "inception"]


class IResNetBlock(nn.Module):
    """ArcFace's improved residual unit: normalise, convolve, PReLU, convolve, normalise."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else ConvNormAct(inputs, outputs, 1, stride, act=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H / stride, W / stride)."""
        out: Tensor = self.body(x) + self.skip(x)
        return out


class _ConvNeXtBlock(nn.Module):
    """ConvNeXt's block: depthwise 5×5, layer normalisation, two pointwise layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, channels * 3, 1),
            nn.GELU(),
            nn.Conv2d(channels * 3, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class _InceptionBlock(nn.Module):
    """Inception's unit: a pointwise, a 3×3 and a double 3×3 branch side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter, half = outputs // 4, outputs // 2
        self.branches = nn.ModuleList(
            [
                ConvNormAct(inputs, quarter, 1, act=nn.ReLU),
                nn.Sequential(
                    ConvNormAct(inputs, half, 1, act=nn.ReLU), ConvNormAct(half, half, act=nn.ReLU)
                ),
                nn.Sequential(
                    ConvNormAct(inputs, quarter, 1, act=nn.ReLU),
                    ConvNormAct(quarter, quarter, act=nn.ReLU),
                    ConvNormAct(quarter, quarter, act=nn.ReLU),
                ),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _iresnet(width: int) -> tuple[nn.Module, int]:
    # The stem already halves the size: at full size it would cost more than all the rest.
    stages: list[nn.Module] = [ConvNormAct(3, width, stride=2, act=nn.PReLU)]
    sizes = [width, width * 2, width * 4, width * 6]
    for a, b in pairwise(sizes):
        stages += [IResNetBlock(a, b, 2), IResNetBlock(b, b, 1)]
    return nn.Sequential(*stages, nn.BatchNorm2d(sizes[-1])), sizes[-1] * 16


def _vgg(width: int) -> tuple[nn.Module, int]:
    stages: list[nn.Module] = []
    sizes = [3, width, width * 2, width * 4, width * 6]
    for a, b in pairwise(sizes):
        stages += [ConvNormAct(a, b, act=nn.ReLU), nn.MaxPool2d(2)]
    stages += [ConvNormAct(sizes[-1], sizes[-1], act=nn.ReLU)]
    return nn.Sequential(*stages), sizes[-1] * 16


def _convnext(width: int) -> tuple[nn.Module, int]:
    stages: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), nn.GroupNorm(1, width), _ConvNeXtBlock(width)]
    for a, b in ((width, width * 2), (width * 2, width * 4)):
        stages += [nn.GroupNorm(1, a), nn.Conv2d(a, b, 2, 2), _ConvNeXtBlock(b), _ConvNeXtBlock(b)]
    return nn.Sequential(*stages), width * 4 * 16


def _inception(width: int) -> tuple[nn.Module, int]:
    stages: list[nn.Module] = [ConvNormAct(3, width, stride=2, act=nn.ReLU)]
    for a, b in ((width, width * 2), (width * 2, width * 4), (width * 4, width * 6)):
        stages += [_InceptionBlock(a, b), nn.MaxPool2d(2)]
    # Fewer channels before the embedding, which would else hold most of the weights.
    return nn.Sequential(*stages, ConvNormAct(width * 6, width * 3, 1, act=nn.ReLU)), width * 3 * 16


_BODIES = {"iresnet": _iresnet, "vgg": _vgg, "convnext": _convnext, "inception": _inception}


class IdentityNetwork(nn.Module):
    """Embeds a face so that pictures of one person lie close together.

    Args:
        architecture: `iresnet` (ArcFace's family, used in Eq. 5), `vgg`, `convnext` or
            `inception` (FaceNet's family; evaluation).
        width: Channels of the first stage.
        dim: Size D of the embedding.
        aligned: Warp the face to ArcFace's five-point template first (needs landmarks).
        finds_faces: Find the landmarks itself first, whatever is given, and warp by them. With neither
            the whole frame is used.
    """

    input_size = 64

    def __init__(
        self,
        architecture: Architecture = "iresnet",
        width: int = 32,
        dim: int = 128,
        aligned: bool = False,
        finds_faces: bool = False,
    ) -> None:
        super().__init__()
        self.aligned = aligned
        self.finder = FaceFinder() if finds_faces else None
        self.body, features = _BODIES[architecture](width)
        self.embed = nn.Linear(features, dim)
        # Without this last normalisation the margin loss collapses.
        self.norm = nn.BatchNorm1d(dim)

    def features(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Embed images (B, 3, H, W) in [-1, 1]; (B, D), not normalised.

        Raises:
            ValueError: If the network aligns faces and `landmarks` is None.
        """
        if self.finder is not None:
            images = align(images, self.finder(images).detach(), self.input_size)
        elif self.aligned:
            if landmarks is None:
                raise ValueError("this identity network aligns faces and needs landmarks (B, 5, 2)")
            images = align(images, landmarks)
        if images.shape[-1] != self.input_size:
            images = F.interpolate(images, (self.input_size, self.input_size), mode="area")
        out: Tensor = self.norm(self.embed(self.body(images).flatten(1)))
        return out

    def forward(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Return unit-length embeddings, (B, D)."""
        return F.normalize(self.features(images, landmarks), dim=1)
