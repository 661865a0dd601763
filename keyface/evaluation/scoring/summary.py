"""One row a method: means over clips with intervals, by recognizer and by category, and what is missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.scoring.metrics import Measure, present, split
from keyface.evaluation.scoring.scorer import Scorer
from keyface.metrics.identity import clip_embedding, retrieve
from keyface.metrics.intervals import bootstrap_interval

Advance = Callable[[int], None]


@dataclass(frozen=True)
class ClipScores:
    """The numbers of one clip of one row; the keys are a metric's name, or "name/recognizer"."""

    clip: ClipSpec
    values: Mapping[str, float]

    def value(self, measure: str, recognizer: str | None = None) -> float | None:
        """One metric, averaged over recognizers unless one is named; None where it was not measured."""
        keys = [key for key in self.values if split(key)[0] == measure]
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

    def values(self, measure: str, category: str | None = None, recognizer: str | None = None) -> list[float]:
        """A metric of every clip where it was measured, of one category or of all."""
        chosen = (each for each in self.clips if category is None or each.clip.category == category)
        found = (each.value(measure, recognizer) for each in chosen)
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
    def of(cls, scorer: Scorer, advance: Advance) -> "Gallery":
        """Embed every original of the clip set; `advance` is told of each."""
        found: dict[str, list[Tensor]] = {name: [] for name in scorer.judges.recognizers}
        for clip in scorer.clips.clips:
            for name, embedding in scorer.gallery_embedding(clip).items():
                found[name].append(embedding)
            advance(1)
        stacked = {name: torch.stack(each) for name, each in found.items()}
        return cls(stacked, [clip.identity for clip in scorer.clips.clips])

    def ranks(self, recognizer: str, queries: Tensor, identities: Sequence[str]) -> list[int]:
        """The rank, from 1, of each query's best clip of the same person.

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
    scorer: Scorer, candidates: Sequence[Candidate], gallery: Gallery, advance: Advance
) -> list[RowScores]:
    """Score every clip of every row, clip by clip, so that each original is read once.

    Args:
        scorer: Scores one clip.
        candidates: The rows.
        gallery: What identities are looked up in.
        advance: Told of each clip of each row.
    """
    found: dict[str, list[ClipScores]] = {candidate.name: [] for candidate in candidates}
    for clip in scorer.clips.edited:
        original = scorer.original(clip)
        for candidate in candidates:
            if candidate.video_of(clip) is not None:
                found[candidate.name].append(ClipScores(clip, scorer.score(candidate, original)))
            advance(1)
    rows = []
    for candidate in candidates:
        scored = _with_retrieval(scorer, candidate, found[candidate.name], gallery)
        keys = {each.clip.key for each in scored}
        missing = tuple(clip.key for clip in scorer.clips.edited if clip.key not in keys)
        rows.append(RowScores(candidate, tuple(scored), missing))
    return rows


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


def summarize(row: RowScores, seed: int) -> dict[str, Any]:
    """One row of the table, as JSON takes it.

    Args:
        row: What was scored.
        seed: Of the bootstrap.

    Returns:
        `method`, `kind`, `n`, every metric (mean over clips, and over recognizers where there are several),
        `intervals` (95 %, percentile bootstrap over clips), `by_recognizer`, `by_category`, `missing`,
        `settings`. Metrics that were not measured are absent.
    """
    measures = present(key for clip in row.clips for key in clip.values)
    categories = dict.fromkeys(clip.clip.category for clip in row.clips)
    return {
        "method": row.candidate.name,
        "kind": row.candidate.kind,
        "n": len(row.clips),
        **_means(row, measures),
        "intervals": _intervals(row, measures, seed),
        "by_recognizer": _by_recognizer(row, measures),
        "by_category": {
            str(category): {
                "n": sum(clip.clip.category == category for clip in row.clips),
                **_means(row, measures, category),
                "intervals": _intervals(row, measures, seed, category),
                "by_recognizer": _by_recognizer(row, measures, category),
            }
            for category in categories
        },
        "missing": list(row.missing),
        "settings": dict(row.candidate.settings),
    }


def _means(
    row: RowScores, measures: Iterable[Measure], category: str | None = None, recognizer: str | None = None
) -> dict[str, float]:
    found = {each.name: row.values(each.name, category, recognizer) for each in measures}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _by_recognizer(
    row: RowScores, measures: Iterable[Measure], category: str | None = None
) -> dict[str, dict[str, float]]:
    judged = [measure for measure in measures if measure.by_recognizer]
    keys = dict.fromkeys(key for clip in row.clips for key in clip.values)
    names = dict.fromkeys(name for key in keys if (name := split(key)[1]) is not None)
    return {name: _means(row, judged, category, name) for name in names}


def _intervals(
    row: RowScores, measures: Iterable[Measure], seed: int, category: str | None = None
) -> dict[str, list[float]]:
    """A row's intervals; one clip alone has none."""
    found = {each.name: row.values(each.name, category) for each in measures}
    return {name: list(interval(values, seed)) for name, values in found.items() if len(values) > 1}


def interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """The ends of the mean's 95 % interval; of one value, that value twice."""
    found = bootstrap_interval(values, seed)
    return found.mean if found.low is None else found.low, found.mean if found.high is None else found.high
