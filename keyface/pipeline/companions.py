"""What comes along with a backbone: its fine-tuned branches, a captioner, a way to tell strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from keyface.diffusion.device import choose_device
from keyface.faces.crops import FFHQ, Placement
from keyface.models.backbones import MINIATURE
from keyface.models.captioners import BLIP2
from keyface.weights import Store, catalogue

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.diffusion.backbone import Backbone
    from keyface.faces.regions import RegionSource
    from keyface.models.finders import FaceSuite

FindRegions = Callable[["torch.device"], "RegionSource | None"]


def find_real_regions(device: torch.device) -> RegionSource | None:
    """Return what finds the regions of real faces: the first whose weights are here."""
    from keyface.models.regions import find_regions

    return find_regions("auto", device=device)


ClipCaptioner = Callable[["Tensor"], str]
"""Captions frames (T, 3, H, W) in [-1, 1] of one clip together."""


def blip2_if_here() -> ClipCaptioner | None:
    """Return a captioner of real pictures, read when it is first asked; None without its weights."""
    if Store().missing(catalogue()[BLIP2]):
        return None

    def caption(frames: Tensor) -> str:
        from keyface.models.captioners import find_captioner

        place = choose_device(None)
        network = find_captioner(BLIP2, "bfloat16" if place.type == "cuda" else "float32")
        if isinstance(network, torch.nn.Module):
            network.to(place)
        return network(frames[len(frames) // 2][None].to(place))[0]

    return caption


@dataclass(frozen=True)
class Familiarity:
    """Tell whether a backbone knows faces like those of a clip.

    Attributes:
        surprise: Gives (B,) for a backbone and images (B, 3, H, W) in [-1, 1]; more is stranger.
        limit: Surprise of the strangest faces that the backbone knows.
        scope: Which faces it knows, in words.
    """

    surprise: Callable[[Backbone, Tensor], Tensor]
    limit: float
    scope: str

    def of(self, backbone: Backbone, frames: Tensor) -> float:
        """Return the median surprise of frames (T, 3, H, W) in [-1, 1] of one clip."""
        return float(self.surprise(backbone, frames.to(backbone.device)).median())


@dataclass(frozen=True)
class Companions:
    """Networks and figures that belong to a backbone; None where it comes without.

    Attributes:
        identity: Folder of ε1.
        direction: Folder of ε2.
        captioner: Finds the source caption.
        familiarity: Tells strangers.
        finder: Finds the faces that the backbone knows.
        placement: How it wants a face to lie in its pictures.
        regions: Finds the regions of faces in crops on a device; None where nothing does for its faces.
    """

    identity: Path | None = None
    direction: Path | None = None
    captioner: ClipCaptioner | None = None
    familiarity: Familiarity | None = None
    finder: Callable[[], FaceSuite] | None = None
    placement: Placement = FFHQ
    regions: FindRegions | None = find_real_regions

    @classmethod
    def of(cls, name: str) -> Companions:
        """Return what comes along with a backbone of this name (`keyface.models.backbones`)."""
        if name != MINIATURE:
            return cls(captioner=blip2_if_here())
        from keyface.miniature import familiarity, zoo
        from keyface.models.finders import find_suite

        return cls(
            zoo.WEIGHTS / "identity",
            zoo.WEIGHTS / "direction",
            zoo.caption_clip,
            Familiarity(familiarity.surprise, familiarity.LIMIT, "the miniature knows rendered faces only"),
            lambda: find_suite(MINIATURE),
            zoo.PLACEMENT,
            None,
        )
