"""IP-Adapter-FaceID: a photo of the person, read by cross-attention beside the words.

Ye et al., "IP-Adapter", arXiv 2308.06721, with ArcFace's embedding in place of CLIP's. The embedding is
projected to n tokens; each attn2 adds strength · attention(q, k_face, v_face) to its attention to the words.
The n tokens stand behind the L tokens of a prompt, (B, L + n, D), so that whoever hands prompts to a U-Net
hands them on, too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterFaceIDImageProjection
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from keyface.diffusion.additions.lora import merge_layers
from keyface.diffusion.additions.weighted import Weighted
from keyface.diffusion.checks import require_finite_weights

_PROJECTION, _ATTENTION = "image_proj.", "ip_adapter."
_RENAMED = {"proj.0.": "ff.net.0.proj.", "proj.2.": "ff.net.2."}
"""Parts of the published projection → as diffusers calls them."""

_OTHER_KINDS = {
    "perceiver_resampler.proj_in.weight": "IP-Adapter-FaceID-Plus",
    "latents": "IP-Adapter-Plus",
    "proj.weight": "IP-Adapter for whole pictures",
    "proj.3.weight": "IP-Adapter-Full",
}
"""A name in the projection → whose it is."""


class FaceAttention(IPAdapterAttnProcessor2_0):  # type: ignore[misc]
    """attn2 that attends to the words, and besides to the face tokens behind them; the math is diffusers'.

    Prompts without face tokens are attended to as without the adapter.

    Args:
        words: Length L of the words' tokens.
        options: Of diffusers' processor.
    """

    def __init__(self, words: int, **options: Any) -> None:
        super().__init__(**options)
        self.words = words

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        """Attend: tokens (B, S, C), prompts with face tokens (B, L + n, D) → (B, S, C)."""
        text, face = encoder_hidden_states[:, : self.words], encoder_hidden_states[:, self.words :]
        faces = [face] if face.shape[1] else []
        output: Tensor = super().__call__(attn, hidden_states, (text, faces), *rest, **more)
        return output


@dataclass(frozen=True)
class FaceReference:
    """A person's face as tokens, and what stands in their place where no face is shown.

    Attributes:
        face: (1, n, D).
        nobody: (1, n, D), the tokens of an embedding of zeros, as in training without a picture.
    """

    face: Tensor
    nobody: Tensor

    def shown(self, text: Tensor) -> Tensor:
        """Return prompts (B, L, D) with the face, (B, L + n, D)."""
        return self._behind(text, self.face)

    def unseen(self, text: Tensor) -> Tensor:
        """Return prompts (B, L, D) with nobody's face, (B, L + n, D)."""
        return self._behind(text, self.nobody)

    @staticmethod
    def _behind(text: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat([text, tokens.to(text).expand(len(text), -1, -1)], dim=1)


class FaceAdapter:
    """An IP-Adapter-FaceID whose attention is in U-Nets; `load` puts it there.

    Args:
        projection: From an embedding to tokens.
    """

    def __init__(self, projection: IPAdapterFaceIDImageProjection) -> None:
        self.projection = projection

    @classmethod
    def load(
        cls, given: Weighted, unets: Sequence[UNet2DConditionModel], text_encoder: Any, words: int
    ) -> "FaceAdapter":
        """Read an adapter, and set its attention on the attn2 layers of U-Nets.

        The LoRA that most such files hold is merged into them.

        Args:
            given: A safetensors file with the published names behind `image_proj.` and `ip_adapter.`.
            unets: One that is given twice is changed once.
            text_encoder: Stays as it is; LoRA loading asks for it.
            words: Length L of prompts.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is another kind of adapter, for another network, or damaged.
        """
        file, strength = given.path, given.strength
        weights = _read(file)
        projection = _projection(_part(weights, _PROJECTION), file)
        own = {id(unet): unet for unet in unets}.values()
        attention, lora = _split(_part(weights, _ATTENTION))
        for unet in own:
            _require_fit(attention, projection, unet, file)
        if lora:
            names = list(unets[0].attn_processors)
            layers = {f"unet.{names[number]}.{name}": each for (number, name), each in lora.items()}
            merge_layers(layers, None, None, 1.0, list(own), text_encoder, file)
        for unet in own:
            _set_attention(unet, attention, (words, projection.num_tokens), strength)
        return cls(projection)

    def reference(self, embedding: Tensor) -> FaceReference:
        """Return the tokens of a face.

        Args:
            embedding: (1, E), unit length, by the recognizer that the adapter was trained with.

        Raises:
            ValueError: It is of another length.
        """
        wanted = self.projection.ff.net[0].proj.in_features
        if embedding.shape[-1] != wanted:
            raise ValueError(
                f"--ip-adapter: made for embeddings of length {wanted}, the recognizer's are of length "
                f"{embedding.shape[-1]}; IP-Adapter-FaceID needs `keyface weights get arcface`"
            )
        with torch.no_grad():
            embedding = embedding.to(self.projection.norm.weight)
            return FaceReference(self.projection(embedding), self.projection(torch.zeros_like(embedding)))


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        convert = (
            "import torch, safetensors.torch as s; w = torch.load('IN.bin', weights_only=True); "
            "s.save_file({f'{a}.{b}': t.contiguous() for a, p in w.items() for b, t in p.items()}, "
            "'OUT.safetensors')"
        )
        raise ValueError(
            f"--ip-adapter {file}: only .safetensors is read, since other files can run code; if you trust "
            f'where it came from, convert it: python -c "{convert}"'
        )
    if not file.is_file():
        raise FileNotFoundError(f"--ip-adapter {file}: no such file")
    try:
        weights: dict[str, Tensor] = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged, or no safetensors file: {error}") from error
    require_finite_weights(weights, file)
    return weights


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): each.float() for name, each in weights.items() if name.startswith(prefix)
    }


def _projection(weights: Mapping[str, Tensor], file: Path) -> IPAdapterFaceIDImageProjection:
    """Build the projection as its weights' shapes say."""
    for mark, kind in _OTHER_KINDS.items():
        if mark in weights:
            raise ValueError(f"{file}: an {kind}; IP-Adapter-FaceID is needed, whose photo is a face")
    try:
        hidden, width = weights["proj.0.weight"].shape
        (wide,) = weights["norm.weight"].shape
        network = IPAdapterFaceIDImageProjection(
            width, wide, mult=hidden // width, num_tokens=weights["proj.2.weight"].shape[0] // wide
        )
        renamed = {}
        for name, each in weights.items():
            start = next((old for old in _RENAMED if name.startswith(old)), "")
            renamed[_RENAMED.get(start, "") + name.removeprefix(start)] = each
        network.load_state_dict(renamed)
    except (KeyError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:160]
        raise ValueError(
            f"{file}: not an IP-Adapter-FaceID for Stable Diffusion 1.x or 2.x: {told}"
        ) from error
    return network.eval().requires_grad_(False)


def _split(
    weights: Mapping[str, Tensor],
) -> tuple[dict[tuple[int, str], Tensor], dict[tuple[int, str], Tensor]]:
    """Return weights of the attention and of the LoRA by (number of the attention layer, name)."""
    attention, lora = {}, {}
    for name, each in weights.items():
        if (found := re.fullmatch(r"(\d+)\.(to_[kv]_ip)\.weight", name)) is not None:
            attention[int(found[1]), found[2]] = each
        elif (found := re.fullmatch(r"(\d+)\.(to_\w+_lora\.(?:up|down)\.weight)", name)) is not None:
            lora[int(found[1]), found[2]] = each
    return attention, lora


def _cross_attention(unet: UNet2DConditionModel) -> dict[int, Attention]:
    """Return the attn2 layers by their numbers among all attention layers, as published files count them."""
    names = list(unet.attn_processors)
    return {
        number: unet.get_submodule(name.removesuffix(".processor"))
        for number, name in enumerate(names)
        if name.endswith("attn2.processor")
    }


def _require_fit(
    attention: Mapping[tuple[int, str], Tensor],
    projection: IPAdapterFaceIDImageProjection,
    unet: UNet2DConditionModel,
    file: Path,
) -> None:
    layers = _cross_attention(unet)
    wanted = {
        (number, name): tuple(projected.weight.shape)
        for number, layer in layers.items()
        for name, projected in (("to_k_ip", layer.to_k), ("to_v_ip", layer.to_v))
    }
    found = {place: tuple(each.shape) for place, each in attention.items()}
    if found != wanted or projection.cross_attention_dim != unet.config.cross_attention_dim:
        raise ValueError(
            f"{file}: an IP-Adapter for another U-Net: {len(found)} projections for tokens of width "
            f"{projection.cross_attention_dim}, this one has {len(wanted)} of width "
            f"{unet.config.cross_attention_dim}; use one for the same version of Stable Diffusion"
        )


def _set_attention(
    unet: UNet2DConditionModel,
    attention: Mapping[tuple[int, str], Tensor],
    lengths: tuple[int, int],
    strength: float,
) -> None:
    words, tokens = lengths
    for number, layer in _cross_attention(unet).items():
        processor = FaceAttention(
            words,
            hidden_size=layer.to_k.out_features,
            cross_attention_dim=layer.to_k.in_features,
            num_tokens=(tokens,),
            scale=strength,
        )
        processor.to_k_ip[0].weight.data = attention[number, "to_k_ip"]
        processor.to_v_ip[0].weight.data = attention[number, "to_v_ip"]
        layer.set_processor(processor.to(unet.device, unet.dtype).requires_grad_(False))
