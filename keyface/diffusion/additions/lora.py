"""LoRAs of other programs, merged into U-Nets and the text encoder.

Read are the key forms of diffusers (old and new), of peft's own `save_pretrained`, and of kohya's scripts,
which most other programs write, too. diffusers maps the names and merges; what it would pass over in
silence is refused here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from keyface.diffusion.adapters import ADAPTER, ADAPTER_CONFIG
from keyface.diffusion.additions.weighted import Weighted
from keyface.diffusion.checks import require_finite_weights
from keyface.diffusion.model_kinds import SDXL
from keyface.diffusion.part_config import read_part_config
from keyface.untrusted import parse_json

_UNET, _TEXT = "unet", "text_encoder"
_BLOCKS = ("conv_in.", "time_embedding.", "down_blocks.", "mid_block.", "up_blocks.", "conv_out.")
_PEFT = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_NAME = "keyface"
_OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_": "LoHa", "lokr_": "LoKr"}


def lora_file(lora: Weighted) -> Path:
    """Return the file that holds a LoRA's weights: itself, or that in peft's folder."""
    return lora.path / ADAPTER if (lora.path / ADAPTER_CONFIG).is_file() else lora.path


def merge_lora(lora: Weighted, unets: Sequence[UNet2DConditionModel], text_encoder: Any) -> None:
    """Add a LoRA to networks in place: W + strength · alpha / rank · B A for each of its layers.

    Args:
        lora: A safetensors file, or a folder of peft.
        unets: Each gets the layers of U-Nets; one that is given twice gets them once.
        text_encoder: Gets its layers, where the file has some.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no LoRA, of another kind than plain LoRA, of other networks, or damaged.
    """
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin as Loader  # takes seconds

    file = lora_file(lora)
    weights, metadata = _read(file)
    try:
        layers, alphas = Loader.lora_state_dict(dict(weights))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{file}: not a LoRA of Stable Diffusion 1.x or 2.x: {_short(error)}") from error
    merge_layers(layers, alphas, metadata, lora.strength, unets, text_encoder, file)


def merge_layers(
    layers: Mapping[str, Tensor],
    alphas: Mapping[str, float] | None,
    metadata: Mapping[str, Any] | None,
    strength: float,
    unets: Sequence[UNet2DConditionModel],
    text_encoder: Any,
    file: Path,
) -> None:
    """Add layers that have diffusers' names to networks in place.

    Args:
        layers: By name, behind `unet.` and `text_encoder.`.
        alphas: Of kohya's files, by layer.
        metadata: peft's configuration, behind the same prefixes; None where the file has none.
        strength: Factor of the change.
        unets: As of `merge_lora`.
        text_encoder: As of `merge_lora`.
        file: For messages.

    Raises:
        ValueError: The layers are of other networks; nothing is changed.
    """
    from diffusers.loaders.lora_base import fuse_text_encoder_lora
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin as Loader

    of_unet, of_text = _part(layers, _UNET), _part(layers, _TEXT)
    if not layers or len(of_unet) + len(of_text) < len(layers):
        raise ValueError(f"{file}: not a LoRA for a U-Net and a text encoder of Stable Diffusion 1.x or 2.x")
    _require_layers(_peft_names(of_unet), unets[0], file, "U-Net")
    _require_layers(_peft_names(of_text, text_encoder), text_encoder, file, "text encoder")

    def options(part: str) -> dict[str, Any]:
        told = metadata if any(name.startswith(f"{part}.") for name in metadata or ()) else None
        return {"prefix": part, "network_alphas": alphas, "metadata": told, "adapter_name": _NAME}

    if of_unet:
        for unet in {id(unet): unet for unet in unets}.values():
            unet.load_lora_adapter(dict(layers), **options(_UNET))
            unet.fuse_lora(lora_scale=strength, adapter_names=[_NAME])
            unet.unload_lora()
    if of_text:
        Loader.load_lora_into_text_encoder(dict(layers), text_encoder=text_encoder, **options(_TEXT))
        fuse_text_encoder_lora(text_encoder, strength, adapter_names=[_NAME])
        _remove_layers(text_encoder)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return a file's weights with diffusers' prefixes, and peft's configuration where there is one."""
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: LoRAs are read from .safetensors files only, since others can run code")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with safe_open(file, framework="pt") as opened:
            names: list[str] = opened.keys()
            weights = {name: opened.get_tensor(name) for name in names}
            stored = (opened.metadata() or {}).get("lora_adapter_metadata")
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged, or no safetensors file: {error}") from error
    settings = parse_json(stored, f"{file}: lora_adapter_metadata") if stored else None
    require_finite_weights(weights, file)
    for mark, kind in _OTHER_KINDS.items():
        if any(mark in name for name in weights):
            raise ValueError(f"{file}: a {kind}, which keyface does not read; use a plain LoRA")
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in weights):
        raise ValueError(f"{file}: a LoRA of {SDXL}, which fits no model of Stable Diffusion 1.x or 2.x")
    if all(name.startswith(_PEFT) for name in weights) and (file.parent / ADAPTER_CONFIG).is_file():
        from peft import PeftConfig

        read_part_config(file.parent, ADAPTER_CONFIG)  # within limits, before peft builds what it says
        weights = {name.removeprefix(_PEFT): each for name, each in weights.items()}
        settings = PeftConfig.from_pretrained(str(file.parent)).to_dict()
    if all(name.startswith(_BLOCKS) for name in weights):  # of a U-Net alone
        weights = {f"{_UNET}.{name}": each for name, each in weights.items()}
        settings = settings and {f"{_UNET}.{name}": value for name, value in settings.items()}
    return weights, settings


def _part(layers: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{part}."): each for name, each in layers.items() if name.startswith(f"{part}.")
    }


def _peft_names(layers: Mapping[str, Tensor], text_encoder: Any = None) -> dict[str, Tensor]:
    """Return the layers of one network by peft's names, as diffusers maps them when it reads them."""
    from diffusers.utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    if not layers:
        return {}
    if text_encoder is None:
        return dict(layers if _DOWN in next(iter(layers)) else convert_unet_state_dict_to_peft(dict(layers)))
    named = convert_state_dict_to_peft(convert_state_dict_to_diffusers(dict(layers)))
    wrapped = hasattr(text_encoder, "text_model")  # transformers before 5.6
    return {name if wrapped else name.removeprefix("text_model."): each for name, each in named.items()}


def _require_layers(layers: Mapping[str, Tensor], network: nn.Module, file: Path, what: str) -> None:
    """Refuse layers that a network lacks or has in other sizes: diffusers would only log them."""
    modules = dict(network.named_modules())
    for name, each in layers.items():
        down = name.endswith(_DOWN)
        weight = getattr(modules.get(name.removesuffix(_DOWN if down else _UP)), "weight", None)
        if weight is None:
            raise ValueError(f"{file}: a LoRA of another network: this {what} has no layer for {name}")
        other = layers.get(name.replace(_DOWN, _UP) if down else name.replace(_UP, _DOWN))
        if other is None or each.shape[0 if down else 1] != other.shape[1 if down else 0]:
            raise ValueError(f"{file}: damaged: {name} has no counterpart of the same rank")
        size, wanted = (each.shape[1], weight.shape[1]) if down else (each.shape[0], weight.shape[0])
        if size != wanted:
            raise ValueError(
                f"{file}: a LoRA of another network, such as of another version of Stable Diffusion: {name} "
                f"is for {size} channels, this {what} has {wanted}"
            )


def _remove_layers(text_encoder: Any) -> None:
    """Take the LoRA's layers off a text encoder, whose own weights hold them now."""
    from diffusers.utils import recurse_remove_peft_layers

    recurse_remove_peft_layers(text_encoder)
    if getattr(text_encoder, "peft_config", None):
        del text_encoder.peft_config
        text_encoder._hf_peft_config_loaded = None


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
