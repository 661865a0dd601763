"""LoRA layers of U-Nets, as peft writes them in a folder."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from keyface.diffusion.checks import require_finite_weights, require_same_shapes, require_same_weights
from keyface.diffusion.part_config import read_part_config

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""peft's files of LoRA layers."""

_MOST_RANK = 1024


def merged_adapter(folder: Path, base: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy of a U-Net with the LoRA layers in a folder merged into it, frozen.

    Raises:
        FileNotFoundError: The folder has no weights.
        ValueError: It holds something else, or weights that do not fit or are not finite.
    """
    # takes a second to import and whole networks do without it
    from peft import PeftConfig, PeftModel

    config, ranks = read_part_config(folder, ADAPTER_CONFIG), _ranks(_read_adapter(folder))
    most = max(ranks, default=_MOST_RANK)
    asked = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and 0 < rank <= most for rank in asked):
        raise ValueError(
            f"{folder / ADAPTER_CONFIG}: ranks {asked!r:.80}, the weights beside it have {most} at "
            "most; the two are of different adapters"
        )
    try:
        adapted = PeftModel(copy.deepcopy(base), PeftConfig.from_pretrained(str(folder)))
    except Exception as error:  # what a foreign value breaks in peft can be anything
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder / ADAPTER_CONFIG}: no adapter of this U-Net: {told:.160}") from error
    fill_adapter(adapted, folder)
    merged: UNet2DConditionModel = adapted.merge_and_unload()
    return merged.eval().requires_grad_(False)


def fill_adapter(adapted: "PeftModel", folder: Path) -> None:
    """Give LoRA layers the weights in a folder that peft wrote.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: They are damaged, not finite, or of other layers or ranks.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    file, weights = folder / ADAPTER, _read_adapter(folder)
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    require_same_weights(wanted.keys() - weights.keys(), weights.keys() - wanted.keys(), file, "LoRA adapter")
    require_same_shapes(weights, wanted, file)
    require_finite_weights(weights, file)
    set_peft_model_state_dict(adapted, weights)


def _read_adapter(folder: Path) -> dict[str, Tensor]:
    file = folder / ADAPTER
    if not file.is_file():
        raise FileNotFoundError(f"{folder} has no {ADAPTER}; only safetensors are read")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged, or no safetensors file: {error}") from error


def _ranks(weights: Mapping[str, Tensor]) -> list[int]:
    return [each.shape[0] for name, each in weights.items() if ".lora_A." in name]
