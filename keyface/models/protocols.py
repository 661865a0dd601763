"""What keyface asks of networks that describe and label pictures.

What it asks of others stands where they are used first: `keyface.faces.recognition.Recognizer`,
`keyface.losses.ImageTextEncoder` and `keyface.metrics.flow.FlowEstimator`.
"""

from typing import Protocol

from torch import Tensor


class AttributeClassifier(Protocol):
    """Says which labels a face has."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Classify images (B, 3, H, W) in [-1, 1]: label → (B,) bool."""
        ...


class Captioner(Protocol):
    """Describes pictures."""

    def __call__(self, images: Tensor) -> list[str]:
        """Describe images (B, 3, H, W) in [-1, 1]; a description may be empty."""
        ...
