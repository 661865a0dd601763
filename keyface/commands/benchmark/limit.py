"""`keyface benchmark limit`: how fast the arithmetic lets an edit be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

READING = """\
pflop: 10^15 operations of the networks, counted while a clip is edited by networks of the same layers and
priced at Stable Diffusion 2.1's shapes; what is neither a convolution nor a matrix product is left out.
bound: seconds at {tflops:g} TFLOP/s ({source}); nobody is faster with this arithmetic. seconds, tflops and
share: as measured, and the part of the bound's speed that was reached.
"""


def limit(
    modes: str = "latent,tokens",
    variants: Path | None = None,
    frames: int = 300,
    steps: int = 20,
    solver: Literal["ddim", "dpmpp_2m"] = "dpmpp_2m",
    card: Literal["h100", "h200", "a100", "l40s", "rtx4090"] = "h100",
    tflops: float | None = None,
    measured: Path | None = None,
    json: bool = False,
    output: Path | None = None,
) -> None:
    """Count the arithmetic of an edit by stage, and say how long it takes at a card's speed.

    Args:
        modes: Ways to edit, separated by commas: tokenflow, tokens, latent.
        variants: YAML file with further named ways to edit, as of keyface evaluate, such as speed, which
            has ways to be faster.
        frames: Length of the clip, of 512 by 512 pixels.
        steps: Denoising steps.
        solver: How a step is made.
        card: Whose data sheet tells the speed.
        tflops: The speed in its place, such as that of a matrix product on your machine.
        measured: Folder of keyface benchmark gpu: its machine tells the speed, and its clips of these modes,
            frames, steps and solver what was reached.
        json: Print the rows as JSON, one a mode and stage, and nothing else on stdout.
        output: Also write these rows to this file.

    Raises:
        ValueError: The request does not fit together.
        FileNotFoundError: There are no measurements in the folder, or there is no such file of variants.
    """
    from dataclasses import replace

    from keyface.benchmark.gpu.correctness import MODES, settings_of
    from keyface.benchmark.limit.arithmetic import CARDS, stage_flops
    from keyface.benchmark.limit.rows import Speed, rows_of
    from keyface.commands.benchmark.training import chosen
    from keyface.commands.console import tell_rows, without_none
    from keyface.editing.settings import EditSettings
    from keyface.evaluation.rows.variants import read_variants

    if frames < 1 or steps < 1 or (tflops is not None and tflops <= 0):
        raise ValueError("--frames, --steps and --tflops must be more than 0")
    names = chosen("--modes", modes, MODES)
    if measured is not None:
        speed = Speed.measured(measured)
    else:
        speed = Speed(CARDS[card], f"{card}'s data sheet, bf16")
    if tflops is not None:
        speed = replace(speed, tflops=tflops, source="as given")
    shared = EditSettings(steps=steps)
    ways: dict[str, EditSettings] = {}
    for mode in (each for each in MODES if each in names):
        ways[mode] = replace(settings_of(mode, shared), solver=solver)
    for way in read_variants(variants) if variants is not None else ():
        ways[way.name] = way.apply(replace(shared, solver=solver))
    rows = []
    for name, settings in ways.items():
        clip = speed.clip(name, frames, steps, solver)
        rows += rows_of(name, stage_flops(settings, frames), speed.tflops, clip)
    said = READING.format(tflops=speed.tflops, source=speed.source)
    tell_rows(rows, said, output, json=json, shown=without_none(rows))
