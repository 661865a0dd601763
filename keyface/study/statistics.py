"""How sure the means of raters' scores are, and how far raters agree."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

Scores = NDArray[np.float64]

DRAWS = 4999
CONFIDENCE = 0.95
_AT_ONCE = 500


@dataclass(frozen=True)
class Estimate:
    """A mean over raters and clips.

    Attributes:
        mean: Of all scores.
        low: Lower end of the interval; None where there is neither a second rater nor a second clip.
        high: Upper end likewise.
        n: How many scores it is the mean of.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def crossed_interval(
    scores: Scores, seed: int, draws: int = DRAWS, confidence: float = CONFIDENCE
) -> Estimate:
    """Return the mean of scores, and how sure it is for other raters and other clips of the same kind.

    Raters and clips are drawn anew, independently of each other, and each score counts as often as its rater
    and its clip were drawn together (A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1,
    2007; P. McCullagh, "Resampling and exchangeable arrays", Bernoulli 6, 2000). The percentiles lie further
    out, as far as Student's distribution and the bootstrap's small variance ask for with the smaller of the
    two numbers (T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician
    69, 2015, section 4.6.3). For two methods give the differences: their interval is narrower than the two
    intervals suggest.

    Args:
        scores: (raters, clips); NaN where there is none.
        seed: Of the draws.
        draws: How many.
        confidence: How often an interval made so holds the true mean.

    Raises:
        ValueError: There is no score.
    """
    known = ~np.isnan(scores)
    scores, known = (
        scores[known.any(axis=1)][:, known.any(axis=0)],
        known[known.any(axis=1)][:, known.any(axis=0)],
    )
    if not known.any():
        raise ValueError("no scores to average: nobody's answers count")
    raters, clips = scores.shape
    filled = np.where(known, scores, 0.0)
    mean = float(filled.sum() / known.sum())
    sizes = [size for size in (raters, clips) if size > 1]
    if not sizes:
        return Estimate(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [_means(filled, known, rng, min(_AT_ONCE, draws - done)) for done in range(0, draws, _AT_ONCE)]
    )
    outside = float(_expanded((1 - confidence) / 2, min(sizes)))
    low, high = np.nanquantile(means, [outside, 1 - outside])
    return Estimate(mean, float(low), float(high), int(known.sum()))


def _means(filled: Scores, known: NDArray[np.bool_], rng: np.random.Generator, draws: int) -> Scores:
    """Return the mean of each draw; NaN where no score was drawn."""
    raters, clips = filled.shape
    often = rng.multinomial(raters, np.full(raters, 1 / raters), draws).astype(np.float64)
    chosen = rng.multinomial(clips, np.full(clips, 1 / clips), draws).astype(np.float64)
    sums, counts = (((often @ each) * chosen).sum(axis=1) for each in (filled, known.astype(np.float64)))
    means: Scores = np.divide(sums, counts, out=np.full(draws, np.nan), where=counts > 0)
    return means


def _expanded(outside: float, size: int) -> Any:
    """Return the part of draws outside one end that gives Student's interval for so many values."""
    return norm.cdf(-np.sqrt(size / (size - 1)) * t.ppf(1 - outside, size - 1))


def krippendorff_alpha(ratings: Scores, level: Literal["nominal", "ordinal", "interval"]) -> float | None:
    """Return Krippendorff's α: 1 where raters agree, 0 where they might as well have drawn lots.

    K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011): 1 - D_o / D_e, from the coincidences
    of values within units; units that fewer than two rated say nothing.

    Args:
        ratings: (raters, units); NaN where there is none.
        level: How values differ: at all, by how many ranks, or by how much.

    Returns:
        None where all values are one, or no unit has two.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[..., None] == values).sum(axis=0).astype(np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return None
    coincidences = np.zeros((len(values), len(values)))
    for unit in counts:
        coincidences += (np.outer(unit, unit) - np.diag(unit)) / (unit.sum() - 1)
    totals = coincidences.sum(axis=0)
    by_chance = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    if level == "nominal":
        distance = 1.0 - np.eye(len(values))
    else:
        # Ordinal: all between the two ranks, and half of both, Σ_{g=c..k} n_g - (n_c + n_k) / 2.
        place = np.cumsum(totals) - totals / 2 if level == "ordinal" else values
        distance = (place[:, None] - place[None]) ** 2
    expected = float((by_chance * distance).sum())
    return None if expected == 0 else 1.0 - float((coincidences * distance).sum()) / expected
