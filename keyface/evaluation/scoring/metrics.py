"""What is measured: each metric's name, its meaning, which way is better, and how the controls must order it.

The controls are rows with known answers: the source clip itself, what the autoencoder and the inversion alone
make of it, somebody else's clip and, where there is one, the perfect edit. A metric that does not put them
into the order given here cannot be trusted to order methods either, and is reported as unfit
(`keyface.evaluation.scoring.calibration`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SOURCE = "(source)"
AUTOENCODER = "(autoencoder)"
INVERSION = "(inversion)"
RENDERED = "(rendered)"
ANOTHER = "(another person)"

CONTROLS: Mapping[str, str] = {
    SOURCE: "the original clip, scored as if it were an edit",
    AUTOENCODER: "the original through the model's autoencoder and back",
    INVERSION: "inverted and denoised again with the source prompt: no edit",
    RENDERED: "the renderer's own edit, on the miniature: the answer without fault",
    ANOTHER: "the original of the next clip with somebody else in it",
}
"""The calibration rows, and what each is."""

UNEDITED = (SOURCE, AUTOENCODER, INVERSION)
"""Those that edit nothing."""

_SAME_PERSON = (SOURCE, AUTOENCODER, INVERSION, ANOTHER)


@dataclass(frozen=True)
class Measure:
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
        by_recognizer: Whether there is a value for each recognizer; a row's is then their mean.
    """

    name: str
    title: str
    meaning: str
    higher: bool
    order: tuple[str, ...] = ()
    ends_differ: bool = True
    ceiling: float | None = None
    by_recognizer: bool = False


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "r_at_1", "R@1", "share of clips whose nearest clip of the gallery is the same person", True,
            _SAME_PERSON, by_recognizer=True,
        ),
        Measure(
            "mrr", "MRR", "mean of 1 / rank of the same person's clip in the gallery", True,
            _SAME_PERSON, by_recognizer=True,
        ),
        Measure(
            "cosine_distance", "cos. distance", "1 - cosine to the own original, 0 to 2", False,
            _SAME_PERSON, by_recognizer=True,
        ),
        Measure(
            "tl_id", "TL-ID", "likeness of neighbouring frames over the source's (STIT); 1: as steady", True,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False, by_recognizer=True,
        ),
        Measure(
            "tg_id", "TG-ID", "likeness of all pairs of frames over the source's (STIT); 1: as steady", True,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False, by_recognizer=True,
        ),
        Measure(
            "temporal_loss", "temporal", "Eq. 7 over T - 1 pairs, source's flow, pixels in [0, 1]", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER),
        ),
        Measure(
            "temporal_loss_frames", "temporal, 1/T", "Eq. 7 with the paper's 1 / T, source's flow", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER),
        ),
        Measure(
            "temporal_loss_masked", "temporal, masked", "Eq. 7 but for hidden pixels, source's flow", False,
            (SOURCE, AUTOENCODER, INVERSION, ANOTHER),
        ),
        Measure(
            "temporal_loss_own", "temporal, own flow", "Eq. 7 over T - 1 pairs, the clip's own flow", False,
            (SOURCE, AUTOENCODER, INVERSION), ends_differ=False,
        ),
        Measure(
            "edit_success", "edit success", "share of frames that show all that was asked for", True,
            (RENDERED, SOURCE), ceiling=0.5,
        ),
        Measure(
            "direction_similarity", "CLIP direction", "cosine of image and text change, -1 to 1", True,
            (RENDERED, SOURCE), ceiling=0.2,
        ),
        Measure(
            "outside_l1", "outside L1", "change outside the edit's regions, intensities in [0, 1]", False,
            (INVERSION, AUTOENCODER, SOURCE, ANOTHER),
        ),
        Measure(
            "outside_psnr", "outside PSNR", "the same as PSNR in dB, at most 100", True,
            (INVERSION, AUTOENCODER, SOURCE, ANOTHER),
        ),
        Measure(
            "inside_l1", "inside L1", "distance to the renderer's edit inside the regions, in [0, 1]", False,
            (RENDERED, SOURCE, ANOTHER),
        ),
        Measure(
            "background_drift", "background", "change of the background, intensities in [0, 1]", False,
            (INVERSION, AUTOENCODER, SOURCE, ANOTHER),
        ),
    )
}  # fmt: skip
"""Every metric by name, in the order of the report's columns."""


def split(key: str) -> tuple[str, str | None]:
    """A score's key as metric and recognizer: "mrr/recognizer_vgg" is ("mrr", "recognizer_vgg")."""
    name, _, recognizer = key.partition("/")
    return name, recognizer or None


def present(keys: Iterable[str]) -> list[Measure]:
    """The measures that occur among scores' keys, in the order of the report."""
    found = {split(key)[0] for key in keys}
    return [measure for name, measure in MEASURES.items() if name in found]
