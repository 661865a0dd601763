"""The miniature's trained networks, read from the package or from a folder like the package's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from keyface.celeba import ATTRIBUTES
from keyface.diffusion.backbone import Backbone, load_unet
from keyface.faces.crops import Placement
from keyface.faces.recognition import Recognizer
from keyface.miniature.captioner import describe
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.networks.clip import ClipPair
from keyface.miniature.networks.face_detector import FaceDetector
from keyface.miniature.networks.recognition import Architecture, IdentityNetwork
from keyface.miniature.storage import load_network
from keyface.untrusted import read_json_object

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the weights: `base` in diffusers' layout, one folder for each other network."""

PLACEMENT = Placement(margin=1.08, down=-0.038)
"""How faces lie in the miniature's pictures: the mean over 2,000; those of single ones differ by a few
percent."""

RECOGNIZERS: dict[str, Architecture] = {
    "recognizer_vgg": "vgg",
    "recognizer_convnext": "convnext",
    "recognizer_inception": "inception",
}
"""Evaluation recognizers by folder; none shares architecture or weights with Eq. 5's network."""


def backbone(weights: Path = WEIGHTS) -> Backbone:
    """Return the base: autoencoder, U-Net, text encoder, tokenizer and scheduler, in single precision.

    Raises:
        FileNotFoundError: If the package was installed without its weights.
    """
    return Backbone.from_folder(weights / "base", autoencoder=PatchAutoencoder, dtype=torch.float32)


def identity_unet(base: UNet2DConditionModel | None = None) -> UNet2DConditionModel:
    """Return ε1, the base U-Net fine-tuned with Eq. 5."""
    return load_unet(WEIGHTS / "identity", base or backbone().unet)


def direction_unet(base: UNet2DConditionModel | None = None) -> UNet2DConditionModel:
    """Return ε2, the base U-Net fine-tuned with Eq. 6."""
    return load_unet(WEIGHTS / "direction", base or backbone().unet)


@cache
def clip_pair(weights: Path = WEIGHTS) -> ClipPair:
    """Return the CLIP pair of Eq. 6, frozen."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights / "clip")
    with _same_random_numbers():
        network = ClipPair(tokenizer)
    return cast(ClipPair, load_network(network, weights / "clip"))


@cache
def identity_network(weights: Path = WEIGHTS) -> Recognizer:
    """Return the identity network of Eq. 5; it aligns faces and needs landmarks."""
    return _recognizer(weights / "identity_network", "iresnet", aligned=True)


@cache
def recognizers(weights: Path = WEIGHTS) -> dict[str, Recognizer]:
    """Return the recognizers of the evaluation; they see whole frames, in which they find the face."""
    return {folder: recognizer(folder, weights) for folder in RECOGNIZERS}


@cache
def recognizer(folder: str, weights: Path = WEIGHTS) -> IdentityNetwork:
    """Return one of `RECOGNIZERS` by its folder."""
    return _recognizer(weights / folder, RECOGNIZERS[folder], finds_faces=True)


@cache
def face_finder() -> FaceDetector:
    """Return what finds rendered faces anywhere in a picture."""
    with _same_random_numbers():
        network = FaceDetector()
    return cast(FaceDetector, load_network(network, WEIGHTS / "face_finder"))


@cache
def attribute_classifier(weights: Path = WEIGHTS) -> AttributeClassifier:
    """Return the classifier that scores edits; nothing is trained against it."""
    with _same_random_numbers():
        network = AttributeClassifier(ATTRIBUTES)
    return cast(AttributeClassifier, load_network(network, weights / "attributes"))


def caption_images(images: Tensor) -> list[str]:
    """Caption images (B, 3, H, W) in [-1, 1] in the canonical form, by zero-shot choice of phrases."""
    return describe(clip_pair(), _embed(images))


def caption_clip(frames: Tensor) -> str:
    """Caption frames (T, 3, H, W) in [-1, 1] of one clip together."""
    return describe(clip_pair(), _embed(frames).mean(0, keepdim=True))[0]


def card(name: str) -> dict[str, object]:
    """Return a network's card: its config, data, samples seen and measured figures."""
    return read_json_object(WEIGHTS / name / "card.json")


@torch.no_grad()
def _embed(images: Tensor) -> Tensor:
    return clip_pair().encode_image(images)


def _recognizer(
    folder: Path, architecture: Architecture, aligned: bool = False, finds_faces: bool = False
) -> IdentityNetwork:
    with _same_random_numbers():
        network = IdentityNetwork(architecture, aligned=aligned, finds_faces=finds_faces)
    return cast(IdentityNetwork, load_network(network, folder))


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Keep the caller's random numbers as they are while a network draws initial weights."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
