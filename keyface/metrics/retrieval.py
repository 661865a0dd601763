"""Retrieval by identity: does an edited clip find the original of the same person in a gallery?

The gallery is searched in chunks, so that 35,000 clips of the paper's gallery cost no more memory than one
chunk, and less than a second for 50 queries.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

Ranking = Literal["cosine", "euclidean"]

CHUNK = 4096
"""Gallery clips that are compared at once."""

_TIE = 1e-6
"""Similarities closer than this are equal: a sum's order decides digits below."""


class Retrieval(NamedTuple):
    """What each query found.

    Attributes:
        ranks: (Q,) integers from 1: the place of the nearest clip of the same person.
        distances: (Q,) mean cosine distance to the originals of the same person, in [0, 2].
    """

    ranks: Tensor
    distances: Tensor


def same_person_ranks(similarities: Tensor, same: Tensor) -> Tensor:
    """Return the rank, from 1, of each query's best gallery clip of the same person.

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
    return 1 + _ahead(similarities, best, same)


def retrieve(
    queries: Tensor,
    gallery: Tensor,
    query_identities: Tensor,
    gallery_identities: Tensor,
    ranking: Ranking = "cosine",
    chunk: int = CHUNK,
) -> Retrieval:
    """Search the gallery for each query.

    Args:
        queries: (Q, D) embeddings of edited clips, brought to unit length here.
        gallery: (G, D) embeddings of original clips, likewise.
        query_identities: (Q,) integers.
        gallery_identities: (G,) integers; each query's identity must be among them.
        ranking: Rank by cosine similarity or by Euclidean distance, as the paper does. On the unit sphere
            |a - b|² = 2 - 2 cos, so both give the same ranks.
        chunk: Gallery clips compared at once; nothing of (Q, G) is ever made beyond (Q, chunk).

    Raises:
        ValueError: A query's identity is not in the gallery.
    """
    missing = query_identities[~torch.isin(query_identities, gallery_identities)]
    if len(missing):
        raise ValueError(
            f"identity {int(missing[0])} was edited but no original clip of it is in the gallery: add one"
        )
    queries = F.normalize(queries, dim=-1)
    best = queries.new_full((len(queries), 1), -float("inf"))
    distances, matches = queries.new_zeros(len(queries)), queries.new_zeros(len(queries))
    # Few clips show a person who is asked for; only they can be the best of their person.
    for own in torch.split(torch.isin(gallery_identities, query_identities).nonzero().flatten(), chunk):
        clips = F.normalize(gallery[own], dim=-1)
        same = query_identities[:, None] == gallery_identities[own][None, :]
        near = _similarities(queries, clips, ranking).masked_fill(~same, -float("inf"))
        best = torch.maximum(best, near.amax(dim=1, keepdim=True))
        distances += ((1.0 - queries @ clips.T) * same).sum(dim=1)
        matches += same.sum(dim=1)
    ranks = torch.ones_like(query_identities)
    parts = zip(torch.split(gallery, chunk), torch.split(gallery_identities, chunk), strict=True)
    for clips, identities in parts:
        similarities = _similarities(queries, F.normalize(clips, dim=-1), ranking)
        ranks += _ahead(similarities, best, query_identities[:, None] == identities[None, :])
    return Retrieval(ranks, distances / matches)


def retrieval_scores(
    queries: Tensor,
    gallery: Tensor,
    query_identities: Tensor,
    gallery_identities: Tensor,
    ranking: Ranking = "cosine",
    chunk: int = CHUNK,
) -> dict[str, Tensor]:
    """Return the scores of `retrieve`, whose arguments these are.

    Returns:
        Three scalars. `r_at_1`: the share of queries whose nearest gallery clip is the same person. `mrr`:
        the mean of 1 / (rank of the nearest clip of the same person). `cosine_distance`: the mean distance to
        the originals of the same person, in [0, 2].
    """
    found = retrieve(queries, gallery, query_identities, gallery_identities, ranking, chunk)
    return {
        "r_at_1": (found.ranks == 1).to(queries.dtype).mean(),
        "mrr": found.ranks.to(queries.dtype).reciprocal().mean(),
        "cosine_distance": found.distances.mean(),
    }


class RetrievalIdentity(Metric):
    """R@1, MRR and cosine distance of edited clips against a gallery of originals.

    Clips may come in any order and on any rank; the gallery is whole only at `compute`.

    Args:
        ranking: As in `retrieve`.
        chunk: As in `retrieve`.

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

    def __init__(self, ranking: Ranking = "cosine", chunk: int = CHUNK) -> None:
        super().__init__()
        self.ranking: Ranking = ranking
        self.chunk = chunk
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
        """Return the scores of `retrieval_scores` over all clips seen."""
        return retrieval_scores(
            dim_zero_cat(self.queries),
            dim_zero_cat(self.gallery),
            dim_zero_cat(self.query_identities),
            dim_zero_cat(self.gallery_identities),
            self.ranking,
            self.chunk,
        )


def _similarities(queries: Tensor, clips: Tensor, ranking: Ranking) -> Tensor:
    """Return similarities (Q, chunk) of unit vectors, larger is nearer."""
    if ranking == "cosine":
        return queries @ clips.T
    # The fast form takes the root of a difference of large numbers, and loses the digits that rank.
    return -torch.cdist(queries, clips, compute_mode="donot_use_mm_for_euclid_dist")


def _ahead(similarities: Tensor, best: Tensor, same: Tensor) -> Tensor:
    """Count how many clips of other people are as near as the best of the same person, (Q,)."""
    return ((similarities >= best - _TIE) & ~same).sum(dim=1)
