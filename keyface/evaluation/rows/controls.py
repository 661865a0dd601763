"""Names of the controls: rows with known answers, by which the metrics are calibrated."""

from collections.abc import Mapping

SOURCE = "(source)"
AUTOENCODER = "(autoencoder)"
INVERSION = "(inversion)"
GROUND_TRUTH = "(rendered)"
ANOTHER = "(another person)"

CONTROLS: Mapping[str, str] = {
    SOURCE: "the original clip, scored as if it were an edit",
    AUTOENCODER: "the original through the model's autoencoder and back",
    INVERSION: "inverted and denoised again with the source prompt: no edit",
    GROUND_TRUTH: "the renderer's own edit, on the miniature: the ground truth",
    ANOTHER: "the original of the next clip with somebody else in it",
}
"""The names of the controls, and what each is."""

UNEDITED = (SOURCE, AUTOENCODER, INVERSION)
"""Controls that edit nothing."""
