"""Branches out of training checkpoints, as when a run was stopped before it exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from keyface.models.backbones import find_backbone
from keyface.models.cards import write_json
from keyface.weights.states import read_pickle

_UNET, _AVERAGE, _ADAPTER = "unet.", "ema.module.", ".default.weight"


def write_branch(checkpoint: Path, base: str | None, folder: Path) -> None:
    """Write a checkpoint's averaged U-Net, or its adapters, as a run's `export` folder holds them.

    Args:
        checkpoint: Of an identity or direction branch; only tensors and plain values are read.
        base: What it was tuned from; what its config says if None. Adapters alone do not need it.
        folder: An empty folder.

    Raises:
        ValueError: It is no such checkpoint, or damaged, or does not fit the base.
    """
    content = _read(checkpoint)
    settings = content["hyper_parameters"]
    values = trained(content["state_dict"], checkpoint)
    lora = (settings.get("tuning") or {}).get("lora")
    if lora:
        _write_adapters(values, lora, folder)
    else:
        _write_whole(values, base or settings.get("backbone"), checkpoint, folder)
    facts = {
        "title": content.get("branch") or title_of(settings),
        "configuration": settings,
        "data": {},
        "samples_seen": content["samples_seen"],
        "steps": content["global_step"],
        "trained_parameters": sum(value.numel() for value in values.values()),
        "metrics": {},
    }
    write_json(folder, facts)


def trained(state: dict[str, Tensor], checkpoint: Path) -> dict[str, Tensor]:
    """Return what was trained, by the U-Net's names: the moving averages if the run kept them."""
    values = {name.removeprefix(_UNET): value for name, value in state.items() if name.startswith(_UNET)}
    averages = {name: value for name, value in state.items() if name.startswith(_AVERAGE)}
    if not values:
        raise ValueError(f"{checkpoint}: no checkpoint of a branch: it holds no U-Net")
    if not averages:
        return values
    # The average is a list of the trained parameters in the U-Net's own order.
    ordered = [averages.get(f"{_AVERAGE}{index}") for index in range(len(values))]
    if len(averages) != len(values) or any(
        mine is None or mine.shape != value.shape
        for mine, value in zip(ordered, values.values(), strict=True)
    ):
        raise ValueError(f"{checkpoint}: damaged: the moving average does not fit the U-Net")
    return {name: mine for name, mine in zip(values, ordered, strict=True) if mine is not None}


def title_of(settings: dict[str, Any]) -> str:
    """Return a branch's title by its settings, for checkpoints of earlier versions, which do not say it."""
    return "Identity branch (ε1)" if "identity_network" in settings else "Editing branch (ε2)"


def _read(path: Path) -> dict[str, Any]:
    content = read_pickle(path, "checkpoint")
    needed = {"state_dict", "hyper_parameters", "samples_seen", "global_step"}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise ValueError(f"{path}: no checkpoint of a branch of keyface")
    return content


def _write_adapters(values: dict[str, Tensor], lora: dict[str, Any], folder: Path) -> None:
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["targets"],
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    state = {
        f"base_model.model.{name.removesuffix(_ADAPTER)}.weight": value.contiguous()
        for name, value in values.items()
    }
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _write_whole(values: dict[str, Tensor], base: str | None, checkpoint: Path, folder: Path) -> None:
    if base is None:
        raise ValueError(f"{checkpoint}: its config names no base; give it with --weights")
    unet: UNet2DConditionModel = find_backbone(base).unet
    expected = unet.state_dict()
    wrong = [
        name for name, value in values.items() if getattr(expected.get(name), "shape", None) != value.shape
    ]
    if wrong:
        raise ValueError(f"{checkpoint}: was not tuned from {base}: {wrong[0]!r} does not fit it")
    unet.load_state_dict({**expected, **values})
    unet.save_pretrained(folder, safe_serialization=True)
