"""How long a comparison at Stable Diffusion's shapes will take, told before it starts."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D
from torch.utils.flop_counter import FlopCounterMode

from keyface.benchmark.limit.arithmetic import stage_flops
from keyface.diffusion.precision import choose_dtype

if TYPE_CHECKING:
    from keyface.benchmark.comparison import Comparison
    from keyface.editing.settings import EditSettings

COUNTED = (80, 96, 112)
"""Lengths of clips whose arithmetic is counted, with full windows of keyframes. What follows is a parabola
through them, since TokenFlow lets all keyframes attend to each other; the other ways' are straight."""

STEPS = 10
"""Steps of the edits that are counted; arithmetic outside the autoencoder is in proportion to them."""

_REPEATS = 3


def arithmetic(settings: EditSettings, frames: int, size: int) -> float:
    """Return the FLOPs of an edit, from edits of shorter clips in fewer steps.

    Args:
        settings: How to edit.
        frames: Length of the clip.
        size: Rows and columns of the frames.
    """
    first, second, third = (_counted(settings, each, size) for each in COUNTED)
    place = (frames - COUNTED[0]) / (COUNTED[1] - COUNTED[0])
    bend = first - 2 * second + third
    return first + place * (second - first) + place * (place - 1) / 2 * bend


@cache
def _counted(settings: EditSettings, frames: int, size: int) -> float:
    stages = stage_flops(replace(settings, steps=STEPS), frames, size)
    coded = stages["encode"] + stages["decode"]
    return coded + (sum(stages.values()) - coded) * settings.steps / STEPS


def speed(device: str, dtype: torch.dtype, channels_last: bool = False) -> float:
    """Return the FLOP/s of a device, measured on the first block of Stable Diffusion 2.1's U-Net.

    Convolutions and attention at 64 by 64 cells are most of an edit's arithmetic, and reach less than large
    products of matrices do.

    Args:
        device: Where.
        dtype: Precision.
        channels_last: Whether tensors have their channels innermost.
    """
    place = torch.device(device)
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = 16 if place.type == "cuda" else 1
    with place:
        block = CrossAttnDownBlock2D(
            320, 320, 1280, num_layers=2, num_attention_heads=5, cross_attention_dim=1024,
            use_linear_projection=True, add_downsample=False,
        )  # fmt: skip
        block = block.eval().to(dtype=dtype, memory_format=form)
        given = torch.randn(images, 320, 64, 64, dtype=dtype).contiguous(memory_format=form)
        rest = {
            "temb": torch.randn(images, 1280, dtype=dtype),
            "encoder_hidden_states": torch.randn(images, 77, 1024, dtype=dtype),
        }
    taken = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            block(given, **rest)
        for _ in range(_REPEATS):
            _wait(place)
            started = time.perf_counter()
            block(given, **rest)
            _wait(place)
            taken.append(time.perf_counter() - started)
    return float(counter.get_total_flops()) / min(taken)


def forecast(comparison: Comparison) -> str:
    """Return a line that says how long a comparison will take, without loading and warming up."""
    request, ways = comparison.request, comparison.ways.values()
    flops = speed(request.device, choose_dtype(request.dtype, request.device), request.channels_last)
    work = sum(arithmetic(way, frames, request.size) for way in ways for frames in comparison.lengths)
    seconds = comparison.repeats * work / flops
    return (
        f"forecast: about {in_words(seconds)} for {len(ways)} x {len(comparison.lengths)} edits, "
        f"{comparison.repeats} times: {work / 1e15:.3g} PFLOP each time at {flops / 1e12:.3g} TFLOP/s, "
        f"measured on {request.device}; --frames, --modes and --repeats make it shorter"
    )


def in_words(seconds: float) -> str:
    """Return a time as a person says it."""
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
