"""Finds a backbone by what a user writes: a folder, one safetensors file, or a name on the model hub."""

import re
from pathlib import Path
from typing import cast, get_args

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from keyface.diffusion.adapters import ADAPTER, ADAPTER_CONFIG
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.model_kinds import require_editable
from keyface.diffusion.part_files import chosen_of, weight_files
from keyface.diffusion.single_file import Prediction, backbone_from_file
from keyface.weights.hub import HubError, cached_snapshot, fetch_snapshot, list_files

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
"""`OWNER/NAME` or `OWNER/NAME@REVISION`."""

_NETWORKS = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
_SMALL_FILES = [
    "model_index.json",
    "edit.yaml",
    "transformer/config.json",
    *(
        f"{part}/{pattern}"
        for part in (*_NETWORKS, "tokenizer", "scheduler")
        for pattern in ("*.json", "*.txt")
    ),
]


def load_backbone(place: Path | str, *, dtype: torch.dtype = torch.float32) -> Backbone:
    """Read a backbone; weights are safetensors only.

    Args:
        place: A folder in diffusers' layout; a file `PATH.safetensors`, which may end in `:epsilon` or
            `:v_prediction`; or `OWNER/NAME[@REVISION]` on the model hub, whose copy on this machine is
            used where there is one.
        dtype: Precision of the weights.

    Raises:
        FileNotFoundError: There is nothing of that name here, and the hub does not give it.
        ValueError: What is there cannot be read.
    """
    name = str(place)
    if Path(name).is_dir():
        return Backbone.from_folder(Path(name), dtype=dtype)
    file, _, prediction = name.rpartition(":")
    if prediction in get_args(Prediction):
        return backbone_from_file(file, cast(Prediction, prediction), dtype=dtype)
    if Path(name).is_file() or Path(name).suffix in (".safetensors", ".ckpt", ".bin", ".pt", ".pth"):
        return backbone_from_file(name, dtype=dtype)
    if HUB_NAME.fullmatch(name):
        return Backbone.from_folder(_from_hub(name), dtype=dtype)
    raise FileNotFoundError(
        f"backbone {name!r} is neither a folder in diffusers' layout, a .safetensors file, nor OWNER/NAME on "
        "the model hub; `keyface weights list` names what can be fetched"
    )


def backbone_weights(source: Path, autoencoder: type = AutoencoderKL) -> list[Path]:
    """Return the files that a backbone's weights are read from, in order.

    Args:
        source: Its folder, or its one file.
        autoencoder: Class of the `vae` part.
    """
    if source.is_file():
        return [source]
    kinds = {**_NETWORKS, "vae": autoencoder}
    return sorted(file for part, kind in kinds.items() for file in weight_files(source / part, kind))


def unet_weights(folder: Path) -> list[Path]:
    """Return the files that `keyface.diffusion.backbone.load_unet` reads weights from, in order."""
    if (folder / ADAPTER_CONFIG).is_file():
        return [folder / ADAPTER]
    return weight_files(folder, UNet2DConditionModel)


def _from_hub(name: str) -> Path:
    """Return the folder of a model of the hub, which holds what is read of it and nothing more.

    What is too large to be fetched for nothing comes last: its configurations must have been accepted.
    """
    repository, _, revision = name.partition("@")
    here = cached_snapshot(repository, revision, "unet/config.json")
    if here is not None and _is_whole(here):
        return here
    try:
        listing = list_files(repository, revision)
        require_editable(fetch_snapshot(repository, revision, _SMALL_FILES))
        weights = [file for part, kind in _NETWORKS.items() for file in chosen_of(listing, part, kind)]
        return fetch_snapshot(repository, revision, [*_SMALL_FILES, *weights])
    except HubError as error:
        raise FileNotFoundError(
            f"backbone {name!r} is no folder here, and there is no copy of it on this machine; {error}. "
            "Download it where there is a network and give its folder"
        ) from error


def _is_whole(folder: Path) -> bool:
    """Tell whether a copy of a model has all that is read of it: other programs fetch parts of models."""
    try:
        files = [file for part, kind in _NETWORKS.items() for file in weight_files(folder / part, kind)]
    except FileNotFoundError:
        return False
    others = [folder / part / "config.json" for part in _NETWORKS]
    others += [folder / "scheduler" / "scheduler_config.json", folder / "tokenizer" / "tokenizer_config.json"]
    return all(file.is_file() for file in (*files, *others))
