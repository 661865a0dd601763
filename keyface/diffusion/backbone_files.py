"""Finds a backbone by what a user writes: a folder, one safetensors file, or a name on the model hub."""

import re
from pathlib import Path
from typing import cast, get_args

import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.single_file import Prediction, backbone_from_file
from keyface.weights.hub import HubError, fetch_snapshot

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
"""`OWNER/NAME` or `OWNER/NAME@REVISION`."""

_PARTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
_HUB_FILES = [
    "model_index.json",
    "edit.yaml",
    *(f"{part}/{pattern}" for part in _PARTS for pattern in ("*.json", "*.txt")),
    "vae/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
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


def _from_hub(name: str) -> Path:
    repository, _, revision = name.partition("@")
    try:
        return fetch_snapshot(repository, revision, _HUB_FILES)
    except HubError as error:
        raise FileNotFoundError(
            f"backbone {name!r} is no folder here, and there is no copy of it on this machine; {error}. "
            "Download it where there is a network and give its folder"
        ) from error
