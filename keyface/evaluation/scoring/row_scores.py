"""Scores of whole rows: every clip's numbers, with the rank of its person in the gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.controls import SOURCE
from keyface.evaluation.scoring.cache import ScoreCache
from keyface.evaluation.scoring.metrics import split
from keyface.evaluation.scoring.scorer import Scorer
from keyface.metrics.identity import clip_embedding
from keyface.metrics.locality import gain
from keyface.metrics.retrieval import retrieve
from keyface.models.judges import Judges
from keyface.progress import each


@dataclass(frozen=True)
class ClipScores:
    """The numbers of one clip of one row; the keys are a metric's name, or "name/recognizer"."""

    clip: ClipSpec
    values: Mapping[str, float]

    def value(self, metric: str, recognizer: str | None = None) -> float | None:
        """Return one metric, the mean over recognizers unless one is named; None if it was not measured."""
        keys = [key for key in self.values if split(key)[0] == metric]
        if recognizer is not None:
            keys = [key for key in keys if split(key)[1] == recognizer]
        return sum(self.values[key] for key in keys) / len(keys) if keys else None


@dataclass(frozen=True)
class RowScores:
    """All that was scored of one row.

    Attributes:
        candidate: The row.
        clips: Its clips' numbers, in the order of the clip set.
        missing: Keys of the clips that it lacks.
    """

    candidate: Candidate
    clips: tuple[ClipScores, ...]
    missing: tuple[str, ...]

    def values(self, metric: str, category: str | None = None, recognizer: str | None = None) -> list[float]:
        """Return a metric of every clip where it was measured, of one category or of all."""
        chosen = (each for each in self.clips if category is None or each.clip.category == category)
        found = (each.value(metric, recognizer) for each in chosen)
        return [value for value in found if value is not None]


class Gallery:
    """The originals that edited clips are looked up among.

    Args:
        embeddings: Recognizer → (G, D) of unit length.
        identities: Who is in each, G names.
    """

    def __init__(self, embeddings: Mapping[str, Tensor], identities: Sequence[str]) -> None:
        self.embeddings, self.size = embeddings, len(identities)
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(identities))}
        self._people = torch.tensor([self._numbers[name] for name in identities])

    @classmethod
    def of(cls, scorer: Scorer) -> "Gallery":
        """Embed every original of the clip set."""
        found: dict[str, list[Tensor]] = {name: [] for name in scorer.judges.recognizers}
        for clip in each(scorer.clips.clips, "gallery"):
            for name, embedding in scorer.gallery_embedding(clip).items():
                found[name].append(embedding)
        stacked = {name: torch.stack(each) for name, each in found.items()}
        return cls(stacked, [clip.identity for clip in scorer.clips.clips])

    def ranks(self, recognizer: str, queries: Tensor, identities: Sequence[str]) -> list[int]:
        """Return the rank, from 1, of each query's best clip of the same person.

        Args:
            recognizer: Whose embeddings.
            queries: (Q, D).
            identities: Who is in each query, Q names.
        """
        people = torch.tensor([self._numbers[name] for name in identities])
        gallery = self.embeddings[recognizer]
        ranks: list[int] = retrieve(queries, gallery, people, self._people).ranks.tolist()
        return ranks


def score_rows(
    clips: ClipSet, candidates: Sequence[Candidate], judges: Judges, cache: Path | None
) -> tuple[list[RowScores], Scorer]:
    """Score every clip of every row, clip by clip, so that each original is read once.

    Args:
        clips: The clip set.
        candidates: The rows.
        judges: Who judges.
        cache: Folder of what was computed before; None keeps nothing.

    Returns:
        The rows' scores, and what scored them.
    """
    scorer = Scorer(clips, judges, ScoreCache(cache))
    gallery = Gallery.of(scorer)
    found: dict[str, list[ClipScores]] = {candidate.name: [] for candidate in candidates}
    for clip in each(clips.edited, "score"):
        original = scorer.original(clip)
        numbers = {
            candidate.name: scorer.score(candidate, original)
            for candidate in candidates
            if candidate.video_of(clip) is not None
        }
        for name, values in _with_gain(numbers).items():
            found[name].append(ClipScores(clip, values))
    rows = []
    for candidate in candidates:
        scored = _with_retrieval(scorer, candidate, found[candidate.name], gallery)
        keys = {each.clip.key for each in scored}
        missing = tuple(clip.key for clip in clips.edited if clip.key not in keys)
        rows.append(RowScores(candidate, tuple(scored), missing))
    return rows, scorer


def _with_gain(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Add `gain` to the numbers of one clip by row, where the renderer's edit and the source's row are known.

    It is made here and not kept, so that scores of before hold.
    """
    unedited = rows.get(SOURCE, {}).get("inside_l1", 0.0)
    found = {}
    for name, values in rows.items():
        own = gain(values["inside_l1"], unedited) if "inside_l1" in values else None
        found[name] = {**values} if own is None else {**values, "gain": own}
    return found


def _with_retrieval(
    scorer: Scorer, candidate: Candidate, clips: Sequence[ClipScores], gallery: Gallery
) -> list[ClipScores]:
    """Add `r_at_1` (0 or 1) and `mrr` of each clip and recognizer."""
    if not clips:
        return []
    embedded = [scorer.embeddings(candidate, each.clip) for each in clips]
    people = [each.clip.identity for each in clips]
    found: list[dict[str, float]] = [{} for _ in clips]
    for name in scorer.judges.recognizers:
        queries = torch.stack([clip_embedding(each[name]) for each in embedded])
        for record, rank in zip(found, gallery.ranks(name, queries, people), strict=True):
            record |= {f"r_at_1/{name}": float(rank == 1), f"mrr/{name}": 1.0 / rank}
    return [ClipScores(each.clip, {**more, **each.values}) for each, more in zip(clips, found, strict=True)]
