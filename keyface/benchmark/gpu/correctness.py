"""The GPU against the CPU, on networks that are small enough for both."""

import copy
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.benchmark.gpu.bench import Bench, Results, relative_error, tf32
from keyface.benchmark.raw import Pattern
from keyface.benchmark.sd21 import build_backbone, build_unet
from keyface.diffusion.precision import accelerate
from keyface.editing.attention import Features, KeyframeAttention, KeyframeState, RecordFeatures, processors
from keyface.editing.editor import VideoEditor
from keyface.editing.parts import SELF_ATTENTION
from keyface.editing.settings import EditSettings, Injection, Prompts, Propagation
from keyface.faces.alignment import TEMPLATE, align

Mode = Literal["tokens", "latent", "tokenflow"]

MODES: tuple[Mode, ...] = get_args(Mode)
PROMPTS = Prompts("a photo of a woman", "a photo of a woman with glasses")
MEMORY_GB = 12.0
"""Of which an edit at full size must make do by smaller batches."""


def settings_of(mode: Mode, settings: EditSettings) -> EditSettings:
    """Return settings of a way to edit; `tokenflow` injects as TokenFlow does."""
    changed = replace(settings, propagation=replace(settings.propagation, mode=mode))
    return replace(changed, injection=Injection.tokenflow()) if mode == "tokenflow" else changed


def attention_processors(bench: Bench) -> Results:
    """Return the relative error of recorded, joint and anchored attention, by precision, against fp32."""
    torch.manual_seed(0)
    unet = build_unet(shrunk=True).requires_grad_(False)
    latents, text = torch.randn(6, 4, 16, 16), torch.randn(6, 77, 32)
    with tf32(False):
        expected = _attend(unet, latents, text, torch.device("cpu"), torch.float32)
        dtypes = (torch.float32, torch.bfloat16, torch.float16) if bench.on_gpu else (torch.float32,)
        return {
            str(dtype).removeprefix("torch."): [
                relative_error(ours, theirs)
                for ours, theirs in zip(
                    _attend(unet, latents, text, bench.device, dtype), expected, strict=True
                )
            ]
            for dtype in dtypes
        }


@torch.no_grad()
def _attend(
    unet: UNet2DConditionModel, latents: Tensor, text: Tensor, device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Return outputs with features recorded, with joint attention, and with that on anchors, too."""
    network = copy.deepcopy(unet)
    torch.nn.Module.to(network, device, dtype)
    latents, text, half = latents.to(device, dtype), text.to(device, dtype), len(latents) // 2
    features: dict[str, Features] = {}
    with processors(network, r"up_blocks.*attn1$", lambda name: RecordFeatures(name, "qk", features)):
        outputs = [network(latents[:half], 501, encoder_hidden_states=text[:half]).sample]
    state = KeyframeState(("negative", "target"), source=features, keep_outputs=True, anchors_in_batch=1)
    for anchors_in_batch in (1, 0):
        state.anchors_in_batch = anchors_in_batch
        with processors(network, SELF_ATTENTION, lambda name: KeyframeAttention(name, state)):
            outputs.append(network(latents, 501, encoder_hidden_states=text).sample)
    return outputs


def small_edits(bench: Bench) -> Results:
    """Return the relative error of whole edits in fp32, by way to edit: over all pixels."""
    found: Results = {}
    frames = next(iter(Pattern(12, 64 if bench.dry else 128).chunks(12)))
    for mode in MODES:
        settings = EditSettings(steps=3, interval=4, guidance_scale=2.0, window=2)
        edited = []
        with tf32(False):
            for device in (torch.device("cpu"), bench.device):
                backbone = build_backbone("cpu", shrunk=True)
                for parameter in backbone.unet.conv_out.parameters():
                    parameter.data *= 0.1  # a random network is chaos, in which every rounding shows
                editor = VideoEditor(backbone.to(device), None, None, settings_of(mode, settings))
                edited.append(editor.edit_frames(frames, PROMPTS)[0].cpu())
        found[mode] = relative_error(edited[1], edited[0])
    return found


def alignment(bench: Bench) -> Results:
    """Return dB of ArcFace's crop against that in fp32, with TF32 and under autocast; 60 is very good."""
    torch.manual_seed(0)
    small = torch.rand(1, 3, 64, 64, device=bench.device) * 2 - 1
    picture = F.interpolate(small, (512, 512), mode="bicubic").clamp(-1, 1)
    points = (torch.tensor(TEMPLATE) * 2.9 + 95)[None]
    with tf32(False):
        expected = align(picture.cpu(), points)

    def decibels(crop: Tensor) -> float:
        error = float((crop.cpu() - expected).square().mean())
        return round(10 * math.log10(4 / max(error, 1e-12)), 1)

    with tf32(True):
        found = {"tf32": decibels(align(picture, points.to(bench.device)))}
        with torch.autocast(bench.device.type, torch.bfloat16):
            found["bf16 autocast"] = decibels(align(picture, points.to(bench.device)))
    return found


def smaller_batches(bench: Bench) -> Results:
    """Return what an edit says and gives where memory is short, so that batches must be halved."""
    if not bench.on_gpu:
        return {"left_out": "memory of a CPU is not limited"}
    backbone = build_backbone(str(bench.device))
    accelerate(backbone, [], dtype=torch.bfloat16)
    whole = torch.cuda.get_device_properties(bench.device).total_memory
    settings = EditSettings(steps=1, strength=1.0, propagation=Propagation(mode="latent"))
    torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY_GB * 1e9 / whole), bench.device)
    try:
        with _messages("keyface") as said:
            frames = next(iter(Pattern(16, bench.size).chunks(16)))
            edited = VideoEditor(backbone, None, None, settings).edit_frames(frames, PROMPTS)[0]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    return {"frames": len(edited), "finite": bool(edited.isfinite().all()), "said": said}


@contextmanager
def _messages(logger: str) -> Iterator[list[str]]:
    """Collect what is logged."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger(logger).removeHandler(handler)
