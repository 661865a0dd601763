"""Which files of a folder hold a network's weights: plain ones, or a variant such as fp16; never pickles."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from keyface.untrusted import read_json_object

_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_PREFERRED = "fp16"


def variant_of(folder: Path, kind: type) -> str | None:
    """Return the variant that a folder holds where it lacks the plain weights; None where it has them.

    Args:
        folder: Of one network, as diffusers or transformers saves it.
        kind: The network's class.

    Raises:
        FileNotFoundError: It holds no safetensors file of the network.
    """
    require_safetensors({folder: kind})
    return _variant(_stem(kind), _names(folder))


def weight_files(folder: Path, kind: type) -> list[Path]:
    """Return the files that a network's weights are read from; several where they are sharded.

    Args:
        folder: As of `variant_of`.
        kind: The network's class.

    Raises:
        FileNotFoundError: It holds no safetensors file of the network.
        ValueError: Its list of shards is damaged, or names files elsewhere.
    """
    variant, stem = variant_of(folder, kind), _stem(kind)
    whole, index = _files(stem, variant)
    if (folder / whole).is_file():
        return [folder / whole]
    named = read_json_object(folder / index).get("weight_map")
    shards: list[Any] = list(named.values()) if isinstance(named, dict) else [None]
    if not all(isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name) for name in shards):
        raise ValueError(f"{folder / index}: names no safetensors files beside it; damaged, get it again")
    return [folder / name for name in sorted(set(shards))]


def chosen_of(listing: Iterable[str], part: str, kind: type) -> list[str]:
    """Return those of a model's files that one of its networks is read from; none where it lacks weights.

    They are what `weight_files` finds once they are here, with the index of shards.

    Args:
        listing: Names of all files, such as those of a repository on the model hub.
        part: Folder of the network.
        kind: The network's class.
    """
    names = {name.removeprefix(f"{part}/") for name in listing if name.startswith(f"{part}/")}
    stem = _stem(kind)
    if not _has_weights(stem, names):
        return []
    variant = _variant(stem, names)
    whole, index = _files(stem, variant)
    if whole in names:
        return [f"{part}/{whole}"]
    shard = re.compile(re.escape(whole.removesuffix(".safetensors")) + r"-\d{5}-of-\d{5}\.safetensors")
    return [f"{part}/{name}" for name in sorted(names) if name == index or shard.fullmatch(name)]


def require_safetensors(parts: Mapping[Path, type]) -> None:
    """Refuse folders of networks that lack weights which can be read safely; one error tells all of them.

    Args:
        parts: Folder of each network → its class.

    Raises:
        FileNotFoundError: Some hold no safetensors file of their network; the message says which are wanted,
            and how pickles are converted.
    """
    wanted, pickles, commands = [], [], []
    for folder, kind in parts.items():
        names, stem = _names(folder), _stem(kind)
        if _has_weights(stem, names):
            continue
        wanted.append(str(folder / f"{stem}.safetensors"))
        # transformers called its pickles pytorch_model.bin.
        own = sorted(name for name in names if name.endswith(_PICKLES) and stem in name)
        pickles += [str(folder / name) for name in own]
        if own:
            commands.append(_conversion(folder, kind))
    if not wanted:
        return
    told = f"no file of weights: {', '.join(wanted)} (or the same with .fp16) is wanted"
    if pickles:
        told += (
            f"; {', '.join(pickles)} can hold code and is never opened here. If you trust where it came "
            f'from, convert it: python -c "{"; ".join(commands)}"'
        )
    raise FileNotFoundError(told)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _stem(kind: type) -> str:
    return "model" if issubclass(kind, PreTrainedModel) else "diffusion_pytorch_model"


def _has_weights(stem: str, names: set[str]) -> bool:
    return not names.isdisjoint(_files(stem, None)) or bool(_variants(stem, names))


def _variant(stem: str, names: set[str]) -> str | None:
    if not names.isdisjoint(_files(stem, None)):
        return None
    found = _variants(stem, names)
    return _PREFERRED if _PREFERRED in found else found[0]


def _files(stem: str, variant: str | None) -> tuple[str, str]:
    """Return the names of the one file of weights, and of the index where there are several."""
    middle = "" if variant is None else f".{variant}"
    return f"{stem}{middle}.safetensors", f"{stem}.safetensors.index{middle}.json"


def _variants(stem: str, names: set[str]) -> list[str]:
    pattern = rf"{stem}\.(?:([\w-]+)\.safetensors|safetensors\.index\.([\w-]+)\.json)"
    found = (re.fullmatch(pattern, name) for name in sorted(names))
    shard = re.compile(r"\d{5}-of-\d{5}")
    return [name for each in found if each and not shard.search(name := each[1] or each[2])]


def _conversion(folder: Path, kind: Any) -> str:
    library, name = kind.__module__.partition(".")[0], kind.__name__
    return (
        f"from {library} import {name}; "
        f"{name}.from_pretrained({str(folder)!r}, use_safetensors=False).save_pretrained({str(folder)!r})"
    )
