"""Recognizers that find the faces by themselves, for evaluation on frames without landmarks."""

import torch
from torch import Tensor, nn

from keyface.faces.face import FaceFinder
from keyface.faces.recognition import Recognizer


class DetectingRecognizer(nn.Module):
    """Gives a recognizer the landmarks that it needs; gradients go through the recognizer only.

    Args:
        recognizer: Needs landmarks.
        finder: Finds them where none are given; the surest face counts.
    """

    def __init__(self, recognizer: Recognizer, finder: FaceFinder) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.finder = finder

    def forward(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Embed the faces of images (B, 3, H, W) in [-1, 1] as unit vectors (B, D).

        Raises:
            ValueError: An image shows no face.
        """
        return self.recognizer(images, self.landmarks(images) if landmarks is None else landmarks)

    @torch.no_grad()
    def landmarks(self, images: Tensor) -> Tensor:
        """Find the landmarks (B, 5, 2) of the surest face of each image."""
        found = self.finder.find(images)
        empty = [index for index, faces in enumerate(found) if not faces]
        if empty:
            raise ValueError(f"image {empty[0]} of {len(images)} shows no face that could be found")
        return torch.stack([faces[0].landmarks for faces in found])
