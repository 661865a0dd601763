"""`keyface benchmark seams`: whether the places where a clip was split between devices can be seen."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings

READING = """\
How much more or less changes from one frame to the next than in the source, mean of absolute intensities in
[0, 1]: median and largest over all pairs of frames, the largest where the clip is split, and that over the
median. With one device the same places are no seams.
"""


def seams(
    frames: int = 130,
    devices: int = 2,
    edits: str = "gray-hair",
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    json: bool = False,
    output: Path | None = None,
) -> None:
    """Edit a rendered clip on one device and on several, and look for the seams.

    `keyface edit --devices` splits a long clip where a window of keyframes ends, and edits the parts at the
    same time.

    Args:
        frames: Length of the clip.
        devices: How many share the second edit; on a CPU so many processes.
        edits: Edit categories separated by commas, all at once.
        settings: How it is edited; what is not given is as the weights' edit.yaml and the categories ask for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        seed: Short for --settings.seed; it also draws the clip.
        device: Where to edit, such as cuda or cpu; on a GPU where there is one if not given.
        json: Print the rows as JSON, and nothing else on stdout.
        output: Also write these rows to this file.

    Raises:
        ValueError: The request does not fit together.
    """
    from keyface.benchmark.seams import measure_seams
    from keyface.commands.console import tell_rows
    from keyface.files import require_file_name
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.plugins import edits as installed

    if devices < 2:
        raise ValueError(f"--devices is {devices}; seams are where several devices meet, so it is 2 at least")
    if output is not None:
        require_file_name(output)
    categories = installed.select([name.strip() for name in edits.split(",")])
    given = given_settings(settings, steps=steps, seed=seed)
    pipe = FaceEditPipeline.from_pretrained(device=device)
    rows = measure_seams(pipe, categories, frames, devices, given)
    tell_rows(rows, READING, output, json=json)
