"""Which parameters of a U-Net are trained: all, some by name, or low-rank adapters."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from keyface.diffusion.adapters import fill_adapter
from keyface.lightning_modules.tuning.sharding import gathered

OnNonfinite = Literal["stop", "skip", "rewind"]

ATTENTION = r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""The projections of self- and cross-attention in diffusers' U-Nets."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of the weights themselves.

    Attributes:
        rank: Rank of the adapters.
        alpha: Their scale is alpha / rank.
        dropout: Dropout before the adapters.
        targets: Regular expression that a layer's whole name must match to get one.
        start: Folder of an export that training goes on from, with adapters of the same form; None begins
            with the base.
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str = ATTENTION
    start: str | None = None


@dataclass(frozen=True)
class Tuning:
    """How a branch is fine-tuned.

    Attributes:
        lora: Adapters; None trains the weights themselves.
        trainable: Regular expression searched in parameter names: what it does not find is frozen. With
            adapters it selects among theirs.
        ema_decay: Decay of the moving average that is validated and exported; None: no average.
        gradient_checkpointing: Recompute activations in the backward pass: less memory, more time.
        compiled: Compile the U-Net for training (`torch.compile`); validations and edits run it as written.
        max_nonfinite: So many losses in a row that are NaN or infinite are passed over; then `on_nonfinite`.
        on_nonfinite: `stop` with an error; `skip` them, however many; `rewind` to the newest checkpoint at
            half the learning rate, at most three times.
        export: Write the tuned U-Net to the run's folder `export` when training ends.
        export_half: Export fp16 weights, half the size.
    """

    lora: Lora | None = None
    trainable: str = ""
    ema_decay: float | None = 0.999
    gradient_checkpointing: bool = False
    compiled: bool = False
    max_nonfinite: int = 3
    on_nonfinite: OnNonfinite = "stop"
    export: bool = True
    export_half: bool = False

    @classmethod
    def of(cls, settings: "Tuning | Mapping[str, Any]") -> "Tuning":
        """Accept the plain dictionary that a checkpoint's hyper-parameters hold."""
        if isinstance(settings, Tuning):
            return settings
        lora = settings.get("lora")
        return cls(**{**settings, "lora": Lora(**lora) if isinstance(lora, Mapping) else lora})


EVERYTHING = Tuning()
"""All weights, averaged."""


@dataclass
class TunedUNet:
    """A copy of the base U-Net that is ready to be trained.

    Attributes:
        unet: The copy; with adapters, its layers hold them, and it still is a `UNet2DConditionModel`.
        adapter: peft's view of the same network, or None.
    """

    unet: UNet2DConditionModel
    adapter: PeftModel | None

    @classmethod
    def prepare(cls, base: UNet2DConditionModel, tuning: Tuning) -> "TunedUNet":
        """Copy the base in fp32 and free what `tuning` says; the base stays as it is.

        What stays frozen is stored once: the copy has the base's own parameters there, if they are fp32.
        """
        shared = _frozen_of(base, tuning)
        unet = copy.deepcopy(base, {id(each): each for each in shared}).float().train()
        unet.requires_grad_(tuning.lora is None)
        adapter = None if tuning.lora is None else _add_adapter(unet, tuning.lora)
        _freeze_all_but(unet, tuning.trainable)
        if tuning.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        return cls(unet, adapter)

    def shares(self, base: UNet2DConditionModel) -> bool:
        """Say whether any parameter is the base's own."""
        own = {id(each) for each in self.unet.parameters()}
        return any(id(each) in own for each in base.parameters())

    def state(self, half: bool = False, keep: bool = True) -> dict[str, Tensor]:
        """Copy the weights that `save` writes; of a sharded network every process must ask.

        Args:
            half: In fp16; the network in memory keeps its precision.
            keep: Whether this process wants them; without, it only takes part and gets none.
        """
        if self.adapter is None:
            tuned = self.unet.state_dict()
        else:
            tuned = {name: value for name, value in self.adapter.state_dict().items() if "lora_" in name}
        return gathered(tuned, torch.float16 if half else self.unet.dtype, keep)

    def whole(
        self, base: UNet2DConditionModel, tuning: Tuning, keep: bool = True
    ) -> UNet2DConditionModel | None:
        """Copy the network as it stands, to the CPU; of a sharded one every process must ask.

        Args:
            base: What it was prepared from.
            tuning: How.
            keep: Whether this process wants it; without, it only takes part and gets None.
        """
        state = gathered(self.unet.state_dict(), self.unet.dtype, keep)
        if not keep:
            return None
        # A sharded network cannot be deep-copied; one that was prepared the same way has the same layers.
        unet = TunedUNet.prepare(base, tuning).unet
        unet.load_state_dict(state, assign=True)
        return unet.eval()

    def save(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write safetensors: peft's adapter folder, or the whole U-Net as diffusers writes it.

        Args:
            folder: Where to.
            state: Of `state`; the network's own weights may be spread over processes.
        """
        if self.adapter is None:
            whole = UNet2DConditionModel.from_config(self.unet.config)
            whole.load_state_dict(state, assign=True)
            whole.save_pretrained(folder, safe_serialization=True)
        else:
            self.adapter.save_pretrained(
                folder, safe_serialization=True, state_dict=state, save_embedding_layers=False
            )


def _frozen_of(base: UNet2DConditionModel, tuning: Tuning) -> list[nn.Parameter]:
    """Return the base's parameters that a copy of it has no need to own."""
    if base.dtype != torch.float32:
        return []
    return [
        parameter
        for name, parameter in base.named_parameters()
        if tuning.lora is not None or not re.search(tuning.trainable, name)
    ]


def _add_adapter(unet: UNet2DConditionModel, lora: Lora) -> PeftModel:
    if not any(re.fullmatch(lora.targets, name) for name, _ in unet.named_modules()):
        raise ValueError(f"tuning.lora.targets {lora.targets!r} matches no layer of the U-Net")
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets
    )
    adapter = get_peft_model(unet, config)
    if lora.start is not None:
        fill_adapter(adapter, Path(lora.start))
    return adapter


def _freeze_all_but(unet: nn.Module, pattern: str) -> None:
    for name, parameter in unet.named_parameters():
        if not re.search(pattern, name):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in unet.parameters()):
        raise ValueError(f"tuning.trainable {pattern!r} matches no parameter that could be trained")
