"""Directional similarity: did the image change in the direction in which the text changed?"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


def direction_similarity(
    edited: Tensor, source: Tensor, target_text: Tensor, source_text: Tensor, minimum: float = 1e-6
) -> Tensor:
    """cos(Δ_I, Δ_T) with Δ_I = f_I(edited) - f_I(source) and Δ_T = f_T(target) - f_T(source).

    The score that Eq. 6 trains by; an image or a text that did not change has no direction and scores 0.

    Args:
        edited: (B, D) image embeddings; all four are brought to unit length first.
        source: (B, D) image embeddings.
        target_text: (B, D) or (1, D) text embeddings.
        source_text: (B, D) or (1, D) text embeddings.
        minimum: a difference shorter than this is taken for rounding, and has no direction.

    Returns:
        (B,) in [-1, 1].
    """
    image_change = F.normalize(edited, dim=-1) - F.normalize(source, dim=-1)
    text_change = F.normalize(target_text, dim=-1) - F.normalize(source_text, dim=-1)
    moved = (image_change.norm(dim=-1) > minimum) & (text_change.norm(dim=-1) > minimum)
    similarity: Tensor = F.cosine_similarity(image_change, text_change, dim=-1) * moved
    return similarity


class DirectionSimilarity(Metric):
    """`direction_similarity` averaged over images."""

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, edited: Tensor, source: Tensor, target_text: Tensor, source_text: Tensor) -> None:
        """Add images; the arguments are those of `direction_similarity`."""
        scores = direction_similarity(edited, source, target_text, source_text)
        self.total += scores.double().sum()
        self.images += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over images, a scalar."""
        return (self.total / self.images).float()
