"""The process of one measurement: reads a request, edits, writes what it took.

`python -P -m keyface.benchmark.child REQUEST.json RESULT.json`: a process of its own, so that peak memory
belongs to one mode and one length.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from keyface.benchmark.memory import peak_bytes, reset_peak
from keyface.benchmark.raw import Pattern, RawFrames, RawSink
from keyface.benchmark.request import Request
from keyface.benchmark.sd21 import build_backbone, build_unet
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.precision import accelerate, limit_kernel_cache
from keyface.editing.editor import FrameStream, VideoEditor
from keyface.files import write_text
from keyface.miniature import zoo
from keyface.resume.batches import free_memory

WARM_UP_FRAMES = {"cpu": 64, "cuda": 96}
"""Edited once before the clock starts; enough of them to meet the batch shapes of the clip."""

WARM_UP_STEPS = 2


def measure(request: Request) -> dict[str, Any]:
    """Edit once; times in seconds, memory and disk in MB (10⁶ bytes).

    Returns:
        `seconds_cpu` (all threads of the process), `seconds_wall`, `seconds_` and each stage's name,
        `peak_mb`, `peak_gpu_mb` (None without CUDA), `disk_mb`, `device`.
    """
    limit_kernel_cache()
    backbone, identity, direction = networks(request)
    editor = VideoEditor(backbone, identity, direction, request.settings)
    on_gpu = torch.device(request.device).type == "cuda"
    warm_up(request, backbone, identity, direction)
    free_memory()
    reset_peak()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    frames = stream(request, request.frames)
    cpu, wall = time.process_time(), time.perf_counter()
    with RawSink(request.edited) as sink:
        report = editor.edit(frames, request.prompts, sink)
    if on_gpu:
        torch.cuda.synchronize()
    return {
        "seconds_cpu": time.process_time() - cpu,
        "seconds_wall": time.perf_counter() - wall,
        **{f"seconds_{stage}": seconds for stage, seconds in report.seconds.items()},
        "peak_mb": peak_bytes() / 1e6,
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else None,
        "disk_mb": report.disk_bytes / 1e6,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


def networks(request: Request) -> tuple[Backbone, UNet2DConditionModel, UNet2DConditionModel]:
    """Return backbone, ε1 and ε2, as the request wants them to run."""
    if request.scale == "sd21":
        backbone = build_backbone(request.device, shrunk=request.shrunk)
        with torch.device(request.device):
            branches = [build_unet(request.shrunk).requires_grad_(False) for _ in range(2)]
    else:
        backbone = zoo.backbone().to(request.device)
        branches = [zoo.identity_unet(backbone.unet), zoo.direction_unet(backbone.unet)]
    backbone, branches = accelerate(
        backbone,
        branches,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[request.dtype],
        channels_last=request.channels_last,
        compiled=request.compile,
    )
    return backbone, branches[0], branches[1]


def stream(request: Request, length: int) -> FrameStream:
    """Return the first `length` frames of the clip."""
    if request.clip is None:
        return Pattern(length, request.size)
    return RawFrames(request.clip, length, request.size)


def warm_up(
    request: Request, backbone: Backbone, identity: UNet2DConditionModel, direction: UNet2DConditionModel
) -> None:
    """Edit the clip's beginning in few steps, so that no first time is measured."""
    length = min(request.frames, WARM_UP_FRAMES[torch.device(request.device).type])
    settings = replace(request.settings, steps=WARM_UP_STEPS)
    editor = VideoEditor(backbone, identity, direction, settings)
    editor.edit(stream(request, length), request.prompts, lambda _: None)


def main(words: list[str]) -> None:
    """Measure what the first file asks for, and write the second."""
    import json

    request, result = Path(words[0]), Path(words[1])
    write_text(result, json.dumps(measure(Request.from_json(request.read_text()))))


if __name__ == "__main__":
    main(sys.argv[1:])
