"""The metrics: each one's name, its meaning, which way is better, and how the controls must order it.

The controls are rows with known answers: the source clip itself, what the autoencoder and the inversion alone
make of it, the ground truth where there is one, clips with one fault, and somebody else's clip. A metric that
does not put those that are its own into the order given here cannot be trusted to order methods either, and
is reported as unfit (`keyface.evaluation.scoring.calibration`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keyface.evaluation.rows.controls import (
    ANOTHER,
    AUTOENCODER,
    DRIFT,
    FLICKER,
    GROUND_TRUTH,
    INVERSION,
    LAZY,
    OVERDONE,
    SHIFT,
    SOURCE,
    ZOOM,
)

_SAME_PERSON = (SOURCE, AUTOENCODER, INVERSION, ANOTHER)
_EVERYWHERE = (SHIFT, ZOOM, DRIFT)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its key in JSON and CSV.
        title: Its column's head.
        meaning: What it is, with range and unit, in one sentence.
        higher: Whether higher is better.
        order: Controls from the best value to the worst; neighbours may tie, the first and the last may not.
        ends_differ: Whether the last of `order` must be worse than the first beyond doubt; False where all of
            them may be equal.
        ceiling: Above this a control that edits nothing may not score: the metric would see edits where there
            are none.
        sees: Controls with a fault that the metric is there to see: each must be worse than the row that has
            none, beyond doubt. What the metric makes of the others is reported all the same.
        by_recognizer: Whether there is a value for each recognizer; a row's is then their mean.
    """

    name: str
    title: str
    meaning: str
    higher: bool
    order: tuple[str, ...] = ()
    ends_differ: bool = True
    ceiling: float | None = None
    sees: tuple[str, ...] = ()
    by_recognizer: bool = False


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "r_at_1", "R@1", "share of clips whose nearest clip of the gallery is the same person", True,
            _SAME_PERSON, by_recognizer=True,
        ),
        Metric(
            "mrr", "MRR", "mean of 1 / rank of the same person's clip in the gallery", True,
            _SAME_PERSON, by_recognizer=True,
        ),
        Metric(
            "cosine_distance", "cos. distance", "1 - cosine to the own original, 0 to 2", False,
            _SAME_PERSON, by_recognizer=True,
        ),
        Metric(
            "tl_id", "TL-ID", "likeness of neighbouring frames over the source's (STIT); 1: as steady", True,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False, by_recognizer=True,
        ),
        Metric(
            "tg_id", "TG-ID", "likeness of all pairs of frames over the source's (STIT); 1: as steady", True,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False, by_recognizer=True,
        ),
        Metric(
            "temporal_loss", "temporal", "Eq. 7 over T - 1 pairs, source's flow, pixels in [0, 1]", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=(FLICKER,),
        ),
        Metric(
            "temporal_loss_frames", "temporal, 1/T", "Eq. 7 with the paper's 1 / T, source's flow", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=(FLICKER,),
        ),
        Metric(
            "temporal_loss_masked", "temporal, masked", "Eq. 7 but for hidden pixels, source's flow", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=(FLICKER,),
        ),
        Metric(
            "temporal_loss_own", "temporal, own flow", "Eq. 7 over T - 1 pairs, the clip's own flow", False,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False, sees=(FLICKER,),
        ),
        Metric(
            "edit_success", "edit success", "share of frames that show all that was asked for", True,
            (GROUND_TRUTH, SOURCE), ceiling=0.5, sees=(LAZY,),
        ),
        Metric(
            "gain", "gain", "1 - inside L1 / the source's own; 0: nothing done, 1: the renderer's edit", True,
            (GROUND_TRUTH, SOURCE, ANOTHER), ceiling=0.1, sees=(LAZY, OVERDONE, *_EVERYWHERE),
        ),
        Metric(
            "direction_similarity", "CLIP direction", "cosine of image and text change, -1 to 1", True,
            (GROUND_TRUTH, SOURCE), ceiling=0.2,
        ),
        Metric(
            "outside_l1", "outside L1", "change outside the edit's regions, intensities in [0, 1]", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=_EVERYWHERE,
        ),
        Metric(
            "outside_psnr", "outside PSNR", "the same as PSNR in dB, at most 100", True,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=_EVERYWHERE,
        ),
        Metric(
            "inside_l1", "inside L1", "distance to the renderer's edit inside the regions, in [0, 1]", False,
            (GROUND_TRUTH, SOURCE, ANOTHER), sees=(LAZY, OVERDONE, *_EVERYWHERE),
        ),
        Metric(
            "background_drift", "background", "change of the background, intensities in [0, 1]", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER), sees=_EVERYWHERE,
        ),
    )
}  # fmt: skip
"""Every metric by name, in the order of the report's columns."""


def split(key: str) -> tuple[str, str | None]:
    """Split a score's key into metric and recognizer: "mrr/recognizer_vgg" is ("mrr", "recognizer_vgg")."""
    name, _, recognizer = key.partition("/")
    return name, recognizer or None


def present(keys: Iterable[str]) -> list[Metric]:
    """Return the metrics that occur among scores' keys, in the order of the report."""
    found = {split(key)[0] for key in keys}
    return [metric for name, metric in METRICS.items() if name in found]
