"""`keyface benchmark`: speed, memory and quality of ways to edit, side by side."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Literal

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings

READING = """\
seconds, memory and disk: medians of the repeats, of one edit from frames to frames, without loading
networks and without video files. peak_mb: most resident memory of a process of its own while it edits, with
networks and the resident part of files; disk_mb: temporary files. identity_distance: 0 is the same person,
lower is better; edit_success: share of frames, higher; temporal_loss: against exact motion, lower;
psnr_to_first: how much the frames are those of the first mode, in dB; 100 where they are equal.
"""


def benchmark(
    frames: str | None = None,
    modes: str | None = None,
    variants: Path | None = None,
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    repeats: int = 3,
    scale: Literal["miniature", "sd21"] = "miniature",
    edits: str = "glasses",
    size: int | None = None,
    dtype: Literal["fp32", "bf16"] = "fp32",
    compile: bool = False,
    channels_last: bool = False,
    dry_run: bool = False,
    device: str | None = None,
    json: bool = False,
    output: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure editing frame by frame, TokenFlow's way, and keyface's two ways, in one program.

    Each measurement is a process of its own; repeats are interleaved. With --scale sd21 the networks have
    Stable Diffusion 2.1's shapes and random weights, which tells speed and memory and nothing of quality: 30,
    60, 90 and 120 seconds at 10 frames a second and 512 pixels, as in the paper's Table 2.

    Args:
        frames: Lengths of the clips, separated by commas; 32,128, or those of Table 2 with sd21.
        modes: Ways to edit, separated by commas: frame, tokenflow, tokens, latent; all of them if neither
            this nor --variants is given.
        variants: YAML file with one named way to edit a row, as of keyface evaluate; solver and speed
            ship with keyface (configs/evaluate).
        settings: How all of them edit; what is not given is as the weights' edit.yaml and the categories ask
            for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        guidance: Short for --settings.guidance_scale: scale of classifier-free guidance.
        strength: Short for --settings.strength: fraction of the inversion that is undone; less changes less.
        seed: Short for --settings.seed; it also draws the clip.
        repeats: Measurements of each way and length.
        scale: The miniature's trained networks, or Stable Diffusion 2.1's shapes.
        edits: Edit categories separated by commas, all at once; only with the miniature.
        size: Rows and columns; that of the networks if not given.
        dtype: Precision of the U-Nets; latents are fp32 in any case.
        compile: Compile the U-Nets' parts.
        channels_last: Lay tensors out with channels innermost.
        dry_run: Try the whole command in a minute: shrunk shapes, few frames, 2 steps, once.
        device: Where to edit, such as cuda or cpu; on a GPU where there is one if not given.
        json: Print the rows as JSON, one object a way and length, and nothing else on stdout.
        output: Also write these rows to this file.
        plot: Also draw time and memory against length, as PNG; beside --output if not given.

    Raises:
        ValueError: The request does not fit together, or a measurement failed.
        FileNotFoundError: There is no such file of variants.
    """
    from keyface.benchmark.comparison import Comparison, measure
    from keyface.commands.console import tell_rows, without_none
    from keyface.files import require_file_name
    from keyface.progress import say

    if output is not None:
        require_file_name(output)
        plot = output.with_suffix(".png") if plot is None else plot
    if plot is not None:
        require_file_name(plot)
    comparison = Comparison.of(
        frames=frames,
        modes=modes,
        variants=variants,
        settings=given_settings(settings, steps=steps, guidance=guidance, strength=strength, seed=seed),
        repeats=repeats,
        scale=scale,
        edits=edits,
        size=size,
        dtype=dtype,
        compiled=compile,
        channels_last=channels_last,
        dry_run=dry_run,
        device=device,
    )
    if scale == "sd21" and not dry_run:
        from keyface.benchmark.forecast import forecast

        say(forecast(comparison))
    rows = measure(comparison)
    tell_rows(rows, READING, output, json=json, shown=without_none(rows))
    if plot is not None:
        from keyface.benchmark.plot import plot as draw

        draw(rows, plot)
        say(f"written: {plot}")
