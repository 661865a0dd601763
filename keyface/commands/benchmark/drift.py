"""`keyface benchmark drift`: whether the end of a long clip is edited as well as its beginning."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings

READING = """\
identity_distance: 0 is the same person; edit_success: share of frames; temporal_loss: against exact motion,
lower is better; outside_change, outside_colour: mean absolute change and largest mean shift of a colour where
nothing was to change, intensities in [0, 1].
"""


def drift(
    frames: int = 4096,
    window: int = 250,
    modes: str = "latent",
    edits: str = "beard",
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    json: bool = False,
    output: Path | None = None,
) -> None:
    """Edit one long rendered clip and compare its last frames with its first.

    Video models that go on from their own frames lose person and colours after 20 to 60 seconds. Here every
    frame is edited from its own inversion, and this measures whether that holds. The second half of the clip
    is the first one backwards, so that what differs is not what the ends show.

    Args:
        frames: Length of the clip.
        window: Frames at each end that are scored.
        modes: Ways to edit, separated by commas: frame, tokenflow, tokens, latent.
        edits: Edit categories separated by commas, all at once.
        settings: How all of them edit; what is not given is as the weights' edit.yaml and the categories ask
            for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        seed: Short for --settings.seed; it also draws the clip.
        device: Where to edit, such as cuda or cpu; on a GPU where there is one if not given.
        json: Print the rows as JSON, and nothing else on stdout.
        output: Also write these rows to this file.

    Raises:
        ValueError: The request does not fit together, or the edit failed.
    """
    from keyface.benchmark.comparison import Comparison
    from keyface.benchmark.drift import measure_drift
    from keyface.commands.console import tell_rows
    from keyface.files import require_file_name

    if window < 2 or frames < 2 * window:
        raise ValueError(
            f"--window {window}, --frames {frames}: a window has 2 frames at least, and the clip two windows"
        )
    if output is not None:
        require_file_name(output)
    comparison = Comparison.of(
        frames=str(frames),
        modes=modes,
        settings=given_settings(settings, steps=steps, seed=seed),
        edits=edits,
        device=device,
    )
    rows = measure_drift(comparison, window)
    tell_rows(rows, READING, output, json=json)
