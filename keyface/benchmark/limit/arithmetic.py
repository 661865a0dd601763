"""The arithmetic of an edit at Stable Diffusion 2.1's shapes, by stage, and how fast hardware can do it.

What is computed is noted while a clip is really edited, by networks with the same layers and a few channels:
how many images each forward had, and how much of its self-attention was computed. Each is then priced at the
true shapes, where a frame's forward is counted from shapes alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from keyface.benchmark.raw import Pattern
from keyface.benchmark.sd21 import PIXELS, build_backbone, build_unet, build_vae
from keyface.editing.editor import VideoEditor
from keyface.editing.settings import EditSettings, Prompts

CARDS: Mapping[str, float] = {"h100": 989.0, "h200": 989.0, "a100": 312.0, "l40s": 362.0, "rtx4090": 165.0}
"""Card → dense bf16 TFLOP/s of its data sheet (NVIDIA's, without sparsity); nothing reaches all of it."""

SHRUNK_PIXELS = 64
_PROMPTS = Prompts("a photo of a woman", "a photo of a woman with glasses")


@dataclass
class Counts:
    """What an edit computed in one stage.

    Attributes:
        images: Images that went through a U-Net.
        products: Self-attention layer → products by its projections, in those of so many plain images.
        scores: Self-attention layer → its scores and their sums of values, in those of plain images.
        encoded: Images that the autoencoder encoded.
        decoded: Images that it decoded.
    """

    images: int = 0
    products: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    encoded: int = 0
    decoded: int = 0


class _AttentionWork(TorchFunctionMode):
    """Adds up what is computed inside the self-attention layer that runs.

    Attributes:
        layer: Its name; None between layers.
        plain_products: Multiplications of its projections for one image.
        plain_scores: Multiplications of its scores within one image.
        counts: Of the stage that runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer: str | None = None
        self.plain_products = self.plain_scores = 1.0
        self.counts = Counts()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and note its work."""
        if self.layer is not None and func is F.linear:
            data, weight = args[0], args[1]
            self._add(self.counts.products, data.numel() * weight.shape[0] / self.plain_products)
        elif self.layer is not None and func is F.scaled_dot_product_attention:
            query, key = args[0], args[1]
            self._add(self.counts.scores, query.numel() * key.shape[-2] / self.plain_scores)
        return func(*args, **(kwargs or {}))

    def _add(self, work: dict[str, float], amount: float) -> None:
        assert self.layer is not None
        work[self.layer] = work.get(self.layer, 0.0) + amount


def count_work(settings: EditSettings, frames: int) -> dict[str, Counts]:
    """Edit a clip with shrunk networks, and return what each stage computed.

    Args:
        settings: How to edit.
        frames: Length of the clip.
    """
    backbone = build_backbone("cpu", shrunk=True)
    identity, direction = (build_unet(shrunk=True).requires_grad_(False) for _ in range(2))
    found: dict[str, Counts] = {}
    work = _AttentionWork()

    def now_in(stage: str, done: int, total: int) -> None:
        work.counts = found.setdefault(stage, Counts())

    hooks = [hook for unet in (backbone.unet, identity, direction) for hook in _watch(unet, work)]
    hooks += [
        backbone.vae.encoder.register_forward_pre_hook(lambda _, inputs: _note(work, "encoded", inputs)),
        backbone.vae.decoder.register_forward_pre_hook(lambda _, inputs: _note(work, "decoded", inputs)),
    ]
    try:
        with work:
            editor = VideoEditor(backbone, identity, direction, settings)
            clip = Pattern(frames, SHRUNK_PIXELS)
            editor.edit(clip, _PROMPTS, lambda _: None, progress=now_in)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _note(work: _AttentionWork, what: str, inputs: tuple[Tensor, ...]) -> None:
    setattr(work.counts, what, getattr(work.counts, what) + len(inputs[0]))


def _watch(unet: UNet2DConditionModel, work: _AttentionWork) -> Iterator[Any]:
    """Yield the hooks that tell the work of a U-Net and of its self-attention layers."""

    def begin(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        work.counts.images += len(inputs[0])

    def enter(name: str, layer: Attention, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        tokens, width = hidden.shape[-2:]
        work.layer = name
        work.plain_products = 4.0 * tokens * width * width
        work.plain_scores = 1.0 * tokens * tokens * width

    def leave(*_: object) -> None:
        work.layer = None

    yield unet.register_forward_pre_hook(begin)
    for name, layer in unet.named_modules():
        if isinstance(layer, Attention) and name.endswith("attn1"):
            yield layer.register_forward_pre_hook(
                lambda module, args, kwargs, name=name: enter(name, module, args, kwargs), with_kwargs=True
            )
            yield layer.register_forward_hook(leave, always_call=True)


@dataclass(frozen=True)
class Prices:
    """FLOPs of one image.

    Attributes:
        unet: A forward of the U-Net, self-attention of one image included.
        products: Self-attention layer → its projections.
        scores: Self-attention layer → scores and their sums of values, within one image.
        encode: Of the autoencoder.
        decode: Of the autoencoder.
    """

    unet: float
    products: Mapping[str, float]
    scores: Mapping[str, float]
    encode: float
    decode: float

    def of(self, counts: Counts) -> float:
        """Return the FLOPs of what was counted."""
        inside = sum(
            (counts.products.get(name, 0.0) - counts.images) * self.products[name]
            + (counts.scores.get(name, 0.0) - counts.images) * self.scores[name]
            for name in self.products
        )
        coded = counts.encoded * self.encode + counts.decoded * self.decode
        return counts.images * self.unet + inside + coded


@cache
def prices(size: int = PIXELS) -> Prices:
    """Count the FLOPs of Stable Diffusion 2.1's networks for one image of a size, from shapes alone."""
    with torch.device("meta"):
        unet, vae = build_unet(), build_vae()
        latents, text = torch.empty(1, 4, size // 8, size // 8), torch.empty(1, 77, 1024)
        images, timestep = torch.empty(1, 3, size, size), torch.zeros(1, dtype=torch.int64)
    products: dict[str, float] = {}
    scores: dict[str, float] = {}

    def note(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        tokens, width = args[0].shape[-2:]
        products[name] = 2.0 * 4 * tokens * width * width
        scores[name] = 2.0 * 2 * tokens * tokens * width

    for name, layer in unet.named_modules():
        if name.endswith("attn1"):
            layer.register_forward_pre_hook(lambda module, args, name=name: note(name, module, args))
    return Prices(
        _flops(lambda: unet(latents, timestep, encoder_hidden_states=text)),
        products,
        scores,
        _flops(lambda: vae.encode(images)),
        _flops(lambda: vae.decode(latents)),
    )


def _flops(call: Any) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def stage_flops(settings: EditSettings, frames: int, size: int = PIXELS) -> dict[str, float]:
    """Return the FLOPs of an edit's stages at Stable Diffusion 2.1's shapes.

    Args:
        settings: How to edit.
        frames: Length of the clip.
        size: Rows and columns of the frames.
    """
    found = prices(size)
    return {stage: found.of(counts) for stage, counts in count_work(settings, frames).items()}
