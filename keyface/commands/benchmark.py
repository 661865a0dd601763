"""`keyface benchmark`: speed, memory and quality of the editing modes, side by side."""

from pathlib import Path
from typing import Literal

READING = """\
seconds, memory and disk: medians of the repeats, of one edit from frames to frames, without loading
networks and without video files. peak_mb: most resident memory of a process of its own while it edits, with
networks and the resident part of files; disk_mb: temporary files. identity_distance: 0 is the same person,
lower is better; edit_success: share of frames, higher; temporal_loss: against exact motion, lower;
psnr_to_first: how much the frames are those of the first mode, in dB; 100 where they are equal.
"""


def benchmark(
    frames: str | None = None,
    modes: str = "frame,tokenflow,tokens,latent",
    repeats: int = 3,
    json: Path | None = None,
    plot: Path | None = None,
    scale: Literal["miniature", "sd21"] = "miniature",
    edits: str = "glasses",
    steps: int | None = None,
    size: int | None = None,
    guidance: float | None = None,
    dtype: Literal["fp32", "bf16"] = "fp32",
    compile: bool = False,
    channels_last: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Measure editing frame by frame, TokenFlow's way, and keyface's two ways, in one program.

    Each measurement is a process of its own; repeats are interleaved. With --scale sd21 the networks have
    Stable Diffusion 2.1's shapes and random weights, which tells speed and memory and nothing of quality: 30,
    60, 90 and 120 seconds at 10 frames a second and 512 pixels, as in the paper's Table 2.

    Args:
        frames: Lengths of the clips, separated by commas; 32,128, or those of Table 2 with sd21.
        modes: Ways to edit, separated by commas: frame, tokenflow, tokens, latent; settings may follow, as in
            latent:steps=10:guidance=2 or tokens:solver=dpmpp_2m:steps=20.
        repeats: Measurements of each mode and length.
        json: Also write the rows here, one object a mode and length.
        plot: Also draw time and memory against length, as PNG; beside --json if not given.
        scale: The miniature's trained networks, or Stable Diffusion 2.1's shapes.
        edits: Edit categories separated by commas, all at once; only with the miniature.
        steps: DDIM steps, the same for all modes; 25, with sd21 50.
        size: Rows and columns; that of the networks if not given.
        guidance: Classifier-free guidance scale; what the edits ask for if not given, with sd21 7.5.
        dtype: Precision of the U-Nets; latents are fp32 in any case.
        compile: Compile the U-Nets' parts.
        channels_last: Lay tensors out with channels innermost.
        dry_run: Try the whole command in a minute: shrunk shapes, few frames, 2 steps, once.
        seed: Of the clip, the weights and the edits.
        device: Where to edit, such as cuda or cpu.

    Raises:
        ValueError: The request does not fit together, or a measurement failed.
    """
    from keyface.benchmark.comparison import Plan, measure
    from keyface.commands.console import table, write_json

    plan = Plan.of(
        frames, modes, repeats, scale, edits, steps, size, guidance, dtype, compile, channels_last, dry_run,
        seed, device,
    )  # fmt: skip
    rows = measure(plan)
    shown = [{key: value for key, value in row.items() if value is not None} for row in rows]
    print(f"\n{table(shown)}\n\n{READING}")
    drawing = plot if plot is not None else json.with_suffix(".png") if json is not None else None
    if json is not None:
        write_json(json, rows)
        print(json)
    if drawing is not None:
        from keyface.benchmark.plot import plot as draw

        draw(rows, drawing)
        print(drawing)
