"""What keyface asks of a face recognition network, and what the networks on crops of faces share."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recognizer(Protocol):
    """A face recognition network: f_arc of Eq. 5, or an evaluation network.

    A network that was trained on aligned crops warps the images itself (see `keyface.faces.alignment.align`),
    differentiably, so that a loss on its embeddings reaches the images.
    """

    def __call__(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Embed faces as unit vectors.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1], whole frames.
            landmarks: (B, 5, 2) pixels (x, y): left eye, right eye, nose, left and right mouth corner as
                seen in the image; None for networks that take the whole frame.

        Returns:
            (B, D), each of length 1.
        """
        ...


class CropRecognizer(nn.Module, ABC):
    """A frozen `Recognizer` that embeds a crop of each face, differentiable up to the image."""

    name: str
    """For messages and reports."""

    @abstractmethod
    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut the faces with landmarks (B, 5, 2) out of images (B, 3, H, W): (B, 3, S, S) in [-1, 1]."""

    @abstractmethod
    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops (B, 3, S, S) in [-1, 1] as (B, D) of any length."""

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Embed faces as `Recognizer` says.

        Raises:
            ValueError: There are no landmarks, or none that make a face.
        """
        if landmarks is None:
            raise ValueError(f"{self.name} needs five landmarks for each face; detect them first")
        faces = self.crop(images, landmarks)
        # Networks stay in their own precision: half precision loses identities.
        with torch.autocast(faces.device.type, enabled=False):
            return F.normalize(self.embed(faces), dim=-1)
