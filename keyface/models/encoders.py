"""Image-text encoders of Eq. 6 by name: OpenCLIP, or the miniature's CLIP pair."""

from typing import Any, Self, cast

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.losses import ImageTextEncoder
from keyface.models.backbones import miniature_weights
from keyface.weights import Store, catalogue


class OpenClipEncoder(nn.Module):
    """A frozen OpenCLIP model whose preprocessing is differentiable.

    Args:
        model: Architecture, one of `open_clip.list_models()`, such as `ViT-B-16`.
        weights: File with its weights (safetensors), or a tag that OpenCLIP downloads, such as `openai`.
    """

    model: Any
    mean: Tensor
    std: Tensor

    def __init__(self, model: str, weights: str) -> None:
        if model not in open_clip.list_models():
            raise ValueError(f"OpenCLIP has no model {model!r}; see open_clip.list_models()")
        if not weights:
            raise ValueError(
                f"no weights for OpenCLIP's {model}: write {model}:path/to/weights or {model}:openai"
            )
        super().__init__()
        self._hold(model, open_clip.create_model(model, pretrained=weights))

    @classmethod
    def untrained(cls, model: str, device: str = "cpu") -> Self:
        """Make an encoder with random weights, to measure speed and memory with."""
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._hold(model, open_clip.create_model(model, device=device))
        return encoder

    def _hold(self, model: str, network: Any) -> None:
        self.model = network
        self.model.requires_grad_(False).eval()
        self.tokenize = open_clip.get_tokenizer(model)
        settings = open_clip.get_model_preprocess_cfg(self.model)
        size = settings["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.register_buffer("mean", torch.tensor(settings["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings["std"]).view(1, 3, 1, 1), persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) in [-1, 1] as unit vectors (B, D); gradients reach the images."""
        resized = F.interpolate(
            images.float(), self.size, mode="bicubic", antialias=True, align_corners=False
        )
        features: Tensor = self.model.encode_image(((resized + 1) / 2 - self.mean) / self.std)
        return F.normalize(features.float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts as unit vectors (B, D)."""
        tokens = self.tokenize(texts).to(self.mean.device, non_blocking=self.mean.is_cuda)
        features: Tensor = self.model.encode_text(tokens)
        return F.normalize(features.float(), dim=-1)


def find_encoder(network: str | nn.Module) -> ImageTextEncoder:
    """Read an image-text encoder by what a config says.

    Args:
        network: `miniature` or `miniature:FOLDER`; OpenCLIP's weights of `keyface.weights.catalogue`, such as
            `clip-vit-b-16`; `MODEL:path/to/weights`; or an encoder, which is returned as it is.

    Raises:
        FileNotFoundError: The weights are not here; the message says how to get them.
        ValueError: There is no such model, or no weights are named.
    """
    if isinstance(network, nn.Module):
        return cast(ImageTextEncoder, network)
    if (own := miniature_weights(network)) is not None:
        from keyface.miniature import zoo

        return zoo.clip_pair(own)
    entry = catalogue().get(network)
    if entry is not None and entry.kind == "clip":
        folder = Store().require([network])[network]
        return OpenClipEncoder(entry.model, str(folder / entry.files[0].path))
    model, _, weights = network.partition(":")
    return OpenClipEncoder(model, weights)
