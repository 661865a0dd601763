"""Where the crop of a face lies, from its five landmarks."""

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from keyface.faces.alignment import check_landmarks

_OF_EYES = 2.0
_OF_HEIGHT = 1.8
_DOWN = 0.1
"""CelebA-HQ's and FFHQ's recipe (Karras et al. 2018): half the side is twice the distance of the eyes, or 1.8
times that of eyes and mouth, whichever is more; the centre lies a tenth of the way from the eyes to the
mouth."""


@dataclass(frozen=True)
class Placement:
    """How a model wants a face to lie in its pictures.

    Attributes:
        margin: Side of the square, as a multiple of FFHQ's.
        down: How much further down the face the square lies, as a share of FFHQ's side.
    """

    margin: float = 1.0
    down: float = 0.0

    def squares(self, landmarks: Tensor, pixel_aspect: Fraction | float = 1) -> Tensor:
        """Return the oriented squares (n, 4) of faces.

        Args:
            landmarks: (n, 5, 2) stored pixels (x, y).
            pixel_aspect: Width of a stored pixel in its heights.

        Raises:
            ValueError: Landmarks are not finite, one point, or on a line.
        """
        points = landmarks.double() * torch.tensor([float(pixel_aspect), 1.0], dtype=torch.float64)
        squares = face_squares(points)
        x, y, side, roll = squares.unbind(1)
        shift = self.down * side
        return torch.stack(
            [x - shift * roll.sin(), y + shift * roll.cos(), side * self.margin, roll], dim=1
        ).float()


FFHQ = Placement()
"""As in CelebA-HQ and FFHQ, which most models of faces were trained on."""


def face_squares(landmarks: Tensor) -> Tensor:
    """Return the squares (n, 4) that CelebA-HQ and FFHQ cut around faces with landmarks (n, 5, 2).

    Raises:
        ValueError: Landmarks are not finite, one point, or on a line.
    """
    check_landmarks(landmarks)
    eyes, mouth = landmarks[:, :2].mean(dim=1), landmarks[:, 3:].mean(dim=1)
    across, down = landmarks[:, 1] - landmarks[:, 0], mouth - eyes
    # What the eyes take for horizontal, and what eyes and mouth do, turned by a quarter.
    axis = across + torch.stack([down[:, 1], -down[:, 0]], dim=1)
    half = torch.maximum(_OF_EYES * across.norm(dim=1), _OF_HEIGHT * down.norm(dim=1))
    centre = eyes + _DOWN * down
    return torch.stack([centre[:, 0], centre[:, 1], 2 * half, torch.atan2(axis[:, 1], axis[:, 0])], dim=1)
