"""Tell from configurations which models the method cannot edit with, and refuse them by name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keyface.diffusion.part_config import read_part_config

USE_INSTEAD = "use a text-to-image model of the Stable Diffusion 1.x or 2.x layout"

_BY_CHANNELS = {
    9: "an inpainting U-Net (9 input channels: latent, mask and masked latent)",
    8: "a U-Net that is told by a picture (8 input channels), such as InstructPix2Pix's",
    7: "an upscaling U-Net (7 input channels)",
    5: "a depth-to-image U-Net (5 input channels)",
}
"""Kinds of Stable Diffusion by the U-Net's input channels; a text-to-image model has 4."""

SDXL = "Stable Diffusion XL"


def require_text_to_image(unet: Mapping[str, Any], place: Path) -> None:
    """Refuse the U-Net of another kind of model than text to image with one text encoder.

    Args:
        unet: Its configuration, as diffusers names it.
        place: Its file or folder, for the message.

    Raises:
        ValueError: It is of another class, one of Stable Diffusion XL, of inpainting, or has other inputs
            beside the latent.
    """
    stored = unet.get("_class_name")
    if stored not in (None, "UNet2DConditionModel"):
        raise ValueError(
            f"{place / 'config.json'} describes {stored!r:.80}; a UNet2DConditionModel is needed"
        )
    if unet.get("addition_embed_type") is not None:
        raise ValueError(f"{place}: a U-Net of {SDXL}, which keyface does not edit with; {USE_INSTEAD}")
    channels, outputs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if channels != outputs:
        kind = _BY_CHANNELS.get(channels, f"a U-Net with {channels} input channels for {outputs} it predicts")
        raise ValueError(f"{place}: {kind}, which keyface does not edit with; {USE_INSTEAD}")


def require_editable(folder: Path) -> None:
    """Refuse a model folder in diffusers' layout, by its configurations, before anything of it is read.

    Raises:
        ValueError: It holds a transformer in place of a U-Net, or a U-Net of another kind than text to image.
    """
    if not (folder / "unet").is_dir() and (name := _config(folder / "transformer").get("_class_name")):
        raise ValueError(
            f"{folder}: its model is a {name} instead of a U-Net, which keyface does not edit with; "
            f"{USE_INSTEAD}"
        )
    require_text_to_image(_config(folder / "unet"), folder / "unet")


def require_known_names(names: Iterable[str], place: Path) -> None:
    """Refuse a single file whose weights' names are those of Stable Diffusion XL.

    Raises:
        ValueError: They are.
    """
    if any(name.startswith(("conditioner.embedders.", "model.diffusion_model.label_emb.")) for name in names):
        raise ValueError(f"{place}: a file of {SDXL}, which keyface does not edit with; {USE_INSTEAD}")


def _config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a network's folder; nothing where there is none."""
    return read_part_config(folder) if (folder / "config.json").is_file() else {}
