"""Finds the frozen networks that a config names by a word or a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor, nn

from keyface.diffusion.backbone import Backbone
from keyface.faces.recognition import Recognizer
from keyface.losses import ImageTextEncoder
from keyface.models import backbones
from keyface.models.backbones import MINIATURE
from keyface.models.open_clip import OpenClipEncoder
from keyface.models.recognizers import load_recognizer, load_recognizers
from keyface.weights import MissingWeightsError, Store, catalogue
from keyface.weights.store import how_to_get


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


def require_weights(*names: object) -> None:
    """Raise one error for all weights that a config names and that are not here.

    Args:
        names: What the config says: names of the catalogue, also several separated by commas, and folders as
            `keyface weights get` fills them; everything else is passed over.

    Raises:
        MissingWeightsError: Files are missing; all of them are listed, with how to get them.
    """
    absent: dict[str, list[Path]] = {}
    for name in (part.strip() for each in names if isinstance(each, str) for part in each.split(",")):
        store, key = (Store(), name) if name in catalogue() else (Store(Path(name).parent), Path(name).name)
        entry = catalogue().get(key)
        if entry is not None and (key == name or not Path(name).exists()):
            absent |= {key: missing} if (missing := store.missing(entry)) else {}
    if absent:
        raise MissingWeightsError(how_to_get([catalogue()[name] for name in absent], absent))


def find_backbone(name: str | Backbone) -> Backbone:
    """A backbone by what a config says.

    Args:
        name: What `keyface.models.backbones.find_backbone` takes (``"miniature"``, a name of the
            catalogue, folder, safetensors file, hub name), or a backbone as it is.

    Raises:
        FileNotFoundError: Nothing of that name is here; the message says how to get it.
        ValueError: What is there cannot be read.
    """
    if isinstance(name, Backbone):
        return name
    require_weights(name)
    return backbones.find_backbone(name)


def find_identity_network(network: str | nn.Module) -> Recognizer:
    """``"miniature"``, a name that `load_recognizer` takes, or a network as it is."""
    if isinstance(network, nn.Module):
        return network
    if network == MINIATURE:
        from keyface.miniature import zoo

        return zoo.identity_network()
    return load_recognizer(network)


def find_encoder(network: str | nn.Module) -> ImageTextEncoder:
    """An image-text encoder by what a config says.

    Args:
        network: ``"miniature"``; OpenCLIP's weights of `keyface.weights.catalogue`, such as
            ``"clip-vit-b-16"``; ``"MODEL:path/to/weights"``; or an encoder as it is.

    Raises:
        FileNotFoundError: The weights are not here; the message says how to get them.
        ValueError: There is no such model, or no weights are named.
    """
    if isinstance(network, nn.Module):
        return cast(ImageTextEncoder, network)
    if network == MINIATURE:
        from keyface.miniature import zoo

        return zoo.clip_pair()
    entry = catalogue().get(network)
    if entry is not None and entry.kind == "clip":
        folder = Store().require([network])[network]
        return OpenClipEncoder(entry.model, str(folder / entry.files[0].path))
    model, _, weights = network.partition(":")
    return OpenClipEncoder(model, weights)


def find_evaluators(name: str | Evaluators | None) -> Evaluators:
    """Networks for validation by what a config says.

    Args:
        name: ``"miniature"``; recognizers of `keyface.models.recognizers`, separated by commas, such as
            ``"cosface,facenet"``; None for none; or evaluators as they are.

    Raises:
        LookupError: There is no such recognizer.
        FileNotFoundError: Weights are not here; all that are missing are listed.
    """
    if isinstance(name, Evaluators):
        return name
    if name is None:
        return Evaluators()
    if name != MINIATURE:
        return Evaluators(load_recognizers([each.strip() for each in name.split(",") if each.strip()]))
    from keyface.miniature import zoo

    return Evaluators(zoo.recognizers(), zoo.attribute_classifier())
