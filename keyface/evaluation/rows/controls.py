"""Names of the controls: rows with known answers, by which the metrics are calibrated."""

from collections.abc import Mapping

SOURCE = "(source)"
AUTOENCODER = "(autoencoder)"
INVERSION = "(inversion)"
GROUND_TRUTH = "(rendered)"
LAZY = "(lazy edit)"
OVERDONE = "(overdone edit)"
FLICKER = "(flicker)"
SHIFT = "(shift)"
ZOOM = "(zoom)"
DRIFT = "(colour drift)"
ANOTHER = "(another person)"

CONTROLS: Mapping[str, str] = {
    SOURCE: "the original clip, scored as if it were an edit",
    AUTOENCODER: "the original through the model's autoencoder and back",
    INVERSION: "inverted and denoised again with the source prompt: no edit",
    GROUND_TRUTH: "the renderer's own edit, on the miniature: the faultless edit",
    LAZY: "a quarter of the way from the original to the faultless edit",
    OVERDONE: "half as far again beyond the faultless edit",
    FLICKER: "the faultless edit, frames 1 % brighter and 1 % darker in turn",
    SHIFT: "the faultless edit, 1 pixel further to the right",
    ZOOM: "the faultless edit, enlarged by 1 % about its middle",
    DRIFT: "the faultless edit, redder and less blue by up to 4 % towards its end",
    ANOTHER: "the original of the next clip with somebody else in it",
}
"""The names of the controls, and what each is. Without a faultless edit the original is spoiled instead."""

UNEDITED = (SOURCE, AUTOENCODER, INVERSION)
"""Controls that edit nothing."""

COMPARED_WITH: Mapping[str, tuple[str, ...]] = {
    AUTOENCODER: (SOURCE,),
    INVERSION: (SOURCE,),
    SOURCE: (GROUND_TRUTH,),
    **dict.fromkeys((LAZY, OVERDONE, FLICKER, SHIFT, ZOOM, DRIFT, ANOTHER), (GROUND_TRUTH, SOURCE)),
}
"""Control → the row that is better by construction; where the first was not scored, the second."""
