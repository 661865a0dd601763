"""A face in a picture, and what is asked of networks that find faces and look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Face:
    """One face that was found.

    Attributes:
        box: (4,) pixels: left, top, right, bottom; may reach over the border.
        score: How sure the finder is, 0 to 1.
        landmarks: (5, 2) pixels (x, y): left eye, right eye, nose tip, left and right mouth corner as seen in
            the image.
        points: (n, 2) pixels (x, y), dense landmarks in the finder's own order; None where it has none.
    """

    box: Tensor
    score: float
    landmarks: Tensor
    points: Tensor | None = None


@dataclass(frozen=True)
class Looks:
    """How a face looks, as guessed by a network; None where it does not say.

    Attributes:
        age: Years.
        male: Probability, 0 to 1.
        expressions: Probability of each expression by name, such as `happy` or `neutral`.
    """

    age: float | None = None
    male: float | None = None
    expressions: Mapping[str, float] = field(default_factory=dict)


class FaceFinder(Protocol):
    """Find faces anywhere in pictures.

    Attributes:
        knows: Which faces it finds, in words: "real faces" or "rendered faces".
    """

    knows: str

    def find(self, images: Tensor) -> list[list[Face]]:
        """Return the faces of each image, the surest first; an empty list where there is none.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1], of any size.
        """
        ...


class FaceDescriber(Protocol):
    """Look at faces that were found."""

    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """Return how one face of each image looks.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            faces: One an image.
        """
        ...
