"""Words by textual inversion: new tokens of the text encoder, for things that no caption names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders import TextualInversionLoaderMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from keyface.diffusion.checks import require_finite_weights
from keyface.diffusion.model_kinds import SDXL

_UNNAMED = "emb_params"
"""Key of files that name their word by their own name, as AUTOMATIC1111's web interface reads them."""


class _Parts(TextualInversionLoaderMixin):  # type: ignore[misc]
    """What diffusers' loader looks at of a pipeline."""

    hf_device_map = None

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.components = {"text_encoder": text_encoder}


def add_embedding(file: Path, tokenizer: Any, text_encoder: Any) -> str:
    """Teach a tokenizer and a text encoder a word, in place.

    Args:
        file: A safetensors file with one tensor (D,) or (n, D): of diffusers, where its key is the word; or
            of other programs, where the file's name is.
        tokenizer: Gets the word as a token, and n − 1 tokens that follow it.
        text_encoder: Gets the embeddings.

    Returns:
        The word, as prompts have to contain it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, or a word of another text encoder, or one that is there already.
    """
    word, embedding = _read(file)
    width = text_encoder.get_input_embeddings().weight.shape[-1]
    if embedding.shape[-1] != width:
        raise ValueError(
            f"{file}: a word for a text encoder of width {embedding.shape[-1]}, this one's is {width}; it is "
            "of another version of Stable Diffusion"
        )
    if word in tokenizer.get_vocab():
        raise ValueError(f"{file}: {word!r} is a word that the text encoder has already; rename one of them")
    _Parts(tokenizer, text_encoder).load_textual_inversion({word: embedding})
    text_encoder.requires_grad_(False)
    return word


def spell_out(prompts: list[str], tokenizer: Any) -> list[str]:
    """Write the tokens that follow an added word of several into prompts; others stay as they are."""
    spelled: list[str] = _Parts(tokenizer, None).maybe_convert_prompt(prompts, tokenizer)
    return spelled


def _read(file: Path) -> tuple[str, Tensor]:
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: words are read from .safetensors files only, since others can run code")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        weights: Mapping[str, Tensor] = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged, or no safetensors file: {error}") from error
    if {"clip_l", "clip_g"} & weights.keys():
        raise ValueError(f"{file}: a word of {SDXL}, which fits no model of Stable Diffusion 1.x or 2.x")
    if len(weights) != 1:
        raise ValueError(f"{file}: no word by textual inversion: it holds {len(weights)} tensors, not one")
    require_finite_weights(weights, file)
    [(name, embedding)] = weights.items()
    word = file.stem if name == _UNNAMED else name
    fits = embedding.ndim in (1, 2) and embedding.numel() > 0
    if not fits or not word or any(map(str.isspace, word)):
        raise ValueError(
            f"{file}: no word by textual inversion: {word!r} is of shape {tuple(embedding.shape)}; a name "
            "without spaces and a tensor of shape (n, width) are needed"
        )
    return word, embedding
