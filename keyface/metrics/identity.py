"""Identity: does the person of an edited clip find the same person among the originals?

A clip is one point on the unit sphere: the embeddings of its frames are normalised, averaged and normalised
again, so that every frame has an equal say and one strange frame cannot decide. The edited clips are the
queries; the gallery holds the originals of the edited identities and of any number of others.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def clip_embedding(frame_embeddings: Tensor) -> Tensor:
    """The embedding of a clip from those of its frames.

    Args:
        frame_embeddings: (T, D) of any length; normalised here.

    Returns:
        (D,) of unit length.
    """
    return F.normalize(F.normalize(frame_embeddings, dim=-1).mean(dim=0), dim=-1)


@torch.inference_mode()
def embed_clip(
    recognizer: Callable[[Tensor, Tensor | None], Tensor],
    frames: Tensor,
    landmarks: Tensor | None = None,
    chunk_size: int = 32,
) -> Tensor:
    """The embedding of a clip, some frames at a time.

    Args:
        recognizer: (images (B, 3, H, W), landmarks (B, 5, 2) or None) → (B, D).
        frames: (T, 3, H, W) in [-1, 1]; clamped to it, as a video file would.
        landmarks: (T, 5, 2) in pixels, where the recognizer aligns.
        chunk_size: Frames in memory at once.

    Returns:
        (D,) of unit length.
    """
    embeddings = []
    for start in range(0, len(frames), chunk_size):
        chunk = slice(start, start + chunk_size)
        points = None if landmarks is None else landmarks[chunk]
        embeddings.append(recognizer(frames[chunk].clamp(-1, 1), points))
    return clip_embedding(torch.cat(embeddings))


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - cos between embeddings (..., D), broadcast: 0 is the same direction, 2 the opposite one."""
    return 1.0 - F.cosine_similarity(first, second, dim=-1)


def same_person_ranks(similarities: Tensor, same: Tensor) -> Tensor:
    """The rank, from 1, of each query's best gallery clip of the same person.

    A tie counts against the query, so that a recognizer that gives every face the same embedding scores as
    badly as it should. (torchmetrics' `retrieval_reciprocal_rank` breaks ties by position and, unless the
    scores are shifted, takes every negative similarity for a miss.)

    Args:
        similarities: (Q, G), larger is nearer.
        same: (Q, G) bool, true where query and gallery clip show the same person; at least once a row.

    Returns:
        (Q,) integers.
    """
    best = similarities.masked_fill(~same, -float("inf")).amax(dim=1, keepdim=True)
    return 1 + ((similarities >= best) & ~same).sum(dim=1)


def retrieval_scores(
    queries: Tensor, gallery: Tensor, query_identities: Tensor, gallery_identities: Tensor
) -> dict[str, Tensor]:
    """Rank the gallery by cosine similarity for each query.

    Args:
        queries: (Q, D) embeddings of edited clips.
        gallery: (G, D) embeddings of original clips.
        query_identities: (Q,) integers.
        gallery_identities: (G,) integers; each query's identity must be among them.

    Returns:
        Three scalars. `r_at_1`: the share of queries whose nearest gallery clip is the same person. `mrr`:
        the mean of 1 / (rank of the nearest clip of the same person). `cosine_distance`: the mean distance to
        the originals of the same person, in [0, 2].
    """
    same = query_identities[:, None] == gallery_identities[None, :]
    missing = query_identities[~same.any(dim=1)]
    if len(missing):
        raise ValueError(
            f"identity {int(missing[0])} was edited but no original clip of it is in the gallery: add one"
        )
    similarities = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    ranks = same_person_ranks(similarities, same)
    distances = ((1.0 - similarities) * same).sum(dim=1) / same.sum(dim=1)
    return {
        "r_at_1": (ranks == 1).to(similarities.dtype).mean(),
        "mrr": ranks.to(similarities.dtype).reciprocal().mean(),
        "cosine_distance": distances.mean(),
    }


class RetrievalIdentity(Metric):
    """R@1, MRR and cosine distance of edited clips against a gallery of originals.

    Clips may come in any order and on any rank; the gallery is whole only at `compute`.

    Example:
        >>> metric = RetrievalIdentity()
        >>> metric.update(edited, originals, edited_identities, original_identities)  # doctest: +SKIP
        >>> metric.compute()["r_at_1"]  # doctest: +SKIP
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    queries: list[Tensor]
    gallery: list[Tensor]
    query_identities: list[Tensor]
    gallery_identities: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("queries", "gallery", "query_identities", "gallery_identities"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, edited: Tensor, originals: Tensor, edited_identities: Tensor, original_identities: Tensor
    ) -> None:
        """Add clips.

        Args:
            edited: (Q, D) clip embeddings to look up; Q may be 0.
            originals: (G, D) clip embeddings for the gallery; G may be 0.
            edited_identities: (Q,) integers.
            original_identities: (G,) integers.
        """
        self.queries.append(edited)
        self.gallery.append(originals)
        self.query_identities.append(edited_identities)
        self.gallery_identities.append(original_identities)

    def compute(self) -> dict[str, Tensor]:
        """The scores of `retrieval_scores` over all clips seen."""
        return retrieval_scores(
            dim_zero_cat(self.queries),
            dim_zero_cat(self.gallery),
            dim_zero_cat(self.query_identities),
            dim_zero_cat(self.gallery_identities),
        )
