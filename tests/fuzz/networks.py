"""Folders of networks and files of weights as input."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch


@cache
def network() -> dict[str, bytes]:
    """Make the files of a tiny text-to-image model in diffusers' layout."""
    from tempfile import TemporaryDirectory

    from diffusers import DDIMScheduler
    from tiny_diffusion import SCHEDULES, build_unet, make_text_encoder, make_tokenizer, make_vae

    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "words").mkdir()
        tokenizer = make_tokenizer(folder / "words")
        make_vae().save_pretrained(folder / "net" / "vae")
        build_unet().save_pretrained(folder / "net" / "unet")
        make_text_encoder(len(tokenizer)).save_pretrained(folder / "net" / "text_encoder")
        tokenizer.save_pretrained(folder / "net" / "tokenizer")
        DDIMScheduler(**SCHEDULES["epsilon"]).save_pretrained(folder / "net" / "scheduler")
        files = (path for path in (folder / "net").rglob("*") if path.is_file())
        return {str(path.relative_to(folder / "net")): path.read_bytes() for path in files}


def network_file(name: str) -> Callable[[], list[bytes]]:
    """Return one file of the model."""
    return lambda: [network()[name]]


def read_network(name: str) -> Callable[[Path, bytes], None]:
    """Read the model with one file in place of its own, and let it encode and denoise."""

    def read(folder: Path, data: bytes) -> None:
        from keyface.models.backbones import find_backbone

        place = folder / "net"
        for other, content in {**network(), name: data}.items():
            (place / other).parent.mkdir(parents=True, exist_ok=True)
            (place / other).write_bytes(content)
        find_backbone(str(place))

    return read


def read_state_file(folder: Path, data: bytes) -> None:
    """Read weights of one of the small networks."""
    from keyface.weights.states import read_state

    path = folder / "input.safetensors"
    path.write_bytes(data)
    read_state(path)


@cache
def states() -> list[bytes]:
    """Return two tensors in a safetensors file."""
    from safetensors.torch import save

    return [
        save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}, {"format": "pt"})
    ]
