"""Finds the frozen networks that a config names by a word or a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from keyface.diffusion.backbone import Backbone
from keyface.faces.recognition import Recognizer
from keyface.lightning_modules.clip_encoder import OpenClipEncoder
from keyface.losses import ImageTextEncoder

MINIATURE = "miniature"
"""The word for the networks that come with keyface."""


class AttributeClassifier(Protocol):
    """Says which labels a face has; for evaluation only."""

    labels: tuple[str, ...]

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Label → (B,) bool, for images (B, 3, H, W) in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Evaluators:
    """Networks that score validation images and are never trained against.

    Attributes:
        recognizers: Face recognition networks by name; other ones than Eq. 5 uses.
        classifier: Attribute classifier, or None.
    """

    recognizers: Mapping[str, Recognizer] = field(default_factory=dict)
    classifier: AttributeClassifier | None = None

    def modules(self) -> list[nn.Module]:
        """Those of the networks that are PyTorch modules."""
        return only_modules([*self.recognizers.values(), self.classifier])


def only_modules(networks: list[Any]) -> list[nn.Module]:
    """Those of the networks that are PyTorch modules."""
    return [network for network in networks if isinstance(network, nn.Module)]


def find_backbone(name: str | Backbone) -> Backbone:
    """``"miniature"``, a folder in diffusers' layout, or a backbone as it is."""
    if isinstance(name, Backbone):
        return name
    if name == MINIATURE:
        from keyface.miniature import zoo

        return zoo.backbone()
    if not Path(name).is_dir():
        raise FileNotFoundError(
            f"backbone {name!r} is neither {MINIATURE!r} nor a folder; download Stable Diffusion 2.1-base in "
            "diffusers' layout and give its folder"
        )
    return Backbone.from_folder(Path(name), dtype=torch.float32)


def find_identity_network(network: str | nn.Module) -> Recognizer:
    """``"miniature"``, or a recognition network as it is."""
    if isinstance(network, nn.Module):
        return network
    if network != MINIATURE:
        raise ValueError(f"identity_network {network!r} is unknown; give {MINIATURE!r} or a class_path")
    from keyface.miniature import zoo

    return zoo.identity_network()


def find_encoder(network: str | nn.Module) -> ImageTextEncoder:
    """``"miniature"``, an OpenCLIP model ``"ViT-B-16:path/to/weights"``, or an encoder as it is."""
    if isinstance(network, nn.Module):
        return cast(ImageTextEncoder, network)
    if network == MINIATURE:
        from keyface.miniature import zoo

        return zoo.clip_pair()
    model, _, weights = network.partition(":")
    return OpenClipEncoder(model, weights)


def find_evaluators(name: str | Evaluators | None) -> Evaluators:
    """``"miniature"``, None for none, or evaluators as they are."""
    if isinstance(name, Evaluators):
        return name
    if name is None:
        return Evaluators()
    if name != MINIATURE:
        raise ValueError(f"evaluators {name!r} are unknown; give {MINIATURE!r} or null")
    from keyface.miniature import zoo

    return Evaluators(zoo.recognizers(), zoo.attribute_classifier())
