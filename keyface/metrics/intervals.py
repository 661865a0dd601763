"""How sure a mean over clips is: bootstrap intervals [Efron 1979], with the number of clips stated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 9999
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over clips with its confidence interval.

    Attributes:
        mean: The mean.
        low: The interval's lower end; None where one clip is all there is, and nothing can be said.
        high: Its upper end; None likewise.
        n: How many clips it is the mean of.
        confidence: How often an interval made so holds the true mean.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (n={self.n})"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def bootstrap_interval(
    values: Sequence[float], seed: int, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of one score a clip and its percentile bootstrap interval; clips are drawn again.

    R@1 is the mean of `rank == 1`, so its interval is that of these zeros and ones. For two methods on the
    same clips give the differences clip by clip: their interval is narrower than the two intervals suggest.

    Args:
        values: One number a clip.
        seed: Of the draws.
        confidence: 0.95 for a 95 % interval.
        resamples: How many draws of n clips.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    if not values:
        raise ValueError("no values for an interval: nothing was measured")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("an interval of values that are not finite; leave out the clips that have none")
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, None, None, 1, confidence)
    drawn = bootstrap(
        (sample,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        # Draws in memory at once: n can be thousands.
        batch=max(1, 2**20 // len(sample)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(drawn.low), float(drawn.high), len(sample), confidence)
