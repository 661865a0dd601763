"""What keyface asks of a face recognition network."""

from typing import Protocol

from torch import Tensor


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
