"""Age, sex and expression of faces: HSE-FaceRes and Arriaga's expression network."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from keyface.faces.face import Looks
from keyface.faces.human.crops import face_crops
from keyface.faces.human.recognition import SIZE, blue_green_red
from keyface.faces.tfjs import GraphNetwork

EXPRESSIONS = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
EXPRESSION_SIZE = 64

_LUMA = (0.299, 0.587, 0.114)
_TIGHTER = 1.35


class LookNetworks(nn.Module):
    """Looks at faces whose landmarks are known.

    Args:
        traits: Gives probabilities of ages 1 to 100 and of male.
        expression: Gives probabilities of `EXPRESSIONS`.
    """

    def __init__(self, traits: GraphNetwork, expression: GraphNetwork) -> None:
        super().__init__()
        self.traits, self.expression = traits, expression

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the networks from the folder of human's files, see `GraphNetwork.load`."""
        return cls(
            GraphNetwork.load(folder / "faceres.json", ("age_pred/Softmax", "gender_pred/Sigmoid")),
            GraphNetwork.load(folder / "emotion.json", ("Identity",)),
        )

    @torch.no_grad()
    def forward(self, images: Tensor, landmarks: Tensor) -> list[Looks]:
        """Look at one face with landmarks (B, 5, 2) of each image (B, 3, H, W) in [-1, 1]."""
        ages, male = self.traits(blue_green_red(face_crops(images, landmarks, SIZE)))
        faces = face_crops(images, landmarks, EXPRESSION_SIZE, zoom=_TIGHTER)
        (expressions,) = self.expression(
            (faces * faces.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        )
        return [
            Looks(years, sex, dict(zip(EXPRESSIONS, values, strict=True)))
            for years, sex, values in zip(
                likely_age(ages).tolist(), male[:, 0].tolist(), expressions.tolist(), strict=True
            )
        ]


def likely_age(probabilities: Tensor) -> Tensor:
    """Return the mean (B,) of the two likeliest ages, of probabilities (B, 100) of 1 to 100 years."""
    values, ages = probabilities.topk(2, dim=1)
    return ((ages + 1) * values).sum(dim=1) / values.sum(dim=1)
