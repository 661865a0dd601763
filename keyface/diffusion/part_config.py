"""A network's config.json, checked before its library builds what it says: it may have come with any file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from keyface.untrusted import UntrustedError, is_finite_number, read_json_object

MOST_BYTES = 2**22

MOST = 10**6
"""Of a whole number: the largest in use are numbers of words, about 250,000."""

MOST_LAYERS = 100
"""Of layers, of a list's items: modules are made one by one before anybody looks at the weights."""


def read_part_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return the configuration in a network's folder.

    Args:
        folder: Of one network, schedule or adapter.
        name: Its file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no JSON object, or holds what no network has: numbers that are not finite, or beyond
            all in use.
    """
    path = folder / name
    config = read_json_object(path, limit=MOST_BYTES)
    for key, value in _values(config, path):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        most = MOST_LAYERS if "layers" in key else MOST
        if not is_finite_number(value) or (isinstance(value, int) and abs(value) > most):
            raise UntrustedError(
                f"{path}: {key} is {value!r:.40}, and at most {most:,} is taken; it is damaged, get it again"
            )
    return config


def require_fitting(kind: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a config of a network that is larger than the weights beside it, before memory is taken for it.

    Every weight takes a byte at least. The network is made without values, which takes no memory.

    Args:
        kind: Its class, of diffusers or transformers.
        config: As `read_part_config` returned it.
        folder: Where it and the weights are.

    Raises:
        ValueError: It is larger, or no such network can be made.
    """
    path = folder / "config.json"
    try:
        with torch.device("meta"):
            if issubclass(kind, PreTrainedModel):
                network = kind(kind.config_class.from_dict(dict(config)))
            else:
                network = kind.from_config(dict(config))
        needed = sum(each.numel() for each in network.parameters())
    except Exception as error:  # what a foreign value breaks in a library can be anything
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path}: no {kind.__name__} can be made of it: {told:.160}") from error
    held = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    if needed > held:
        raise ValueError(
            f"{path}: damaged, or of another network than the weights beside it: it describes {needed:,} "
            f"weights, which {held:,} bytes cannot hold"
        )


def _values(config: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield names and values, those in lists and inner objects by the names above them."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{inner}", each) for inner, each in value.items()]
        elif isinstance(value, list):
            # Schedules may list the noise of each of their steps.
            if len(value) > (MOST if "beta" in name else MOST_LAYERS):
                raise UntrustedError(
                    f"{path}: {name} lists {len(value):,} values; it is damaged, get it again"
                )
            waiting += [(name, each) for each in value]
        else:
            yield name, value
