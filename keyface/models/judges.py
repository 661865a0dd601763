"""Who judges: recognizers, attribute classifier, CLIP and optical flow, each with a version.

Judges must not have trained what they judge. The versions decide which cached scores still hold.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor

from keyface.faces.recognition import Recognizer
from keyface.metrics.flow import FlowEstimator
from keyface.plugins import Category


class AttributeClassifier(Protocol):
    """Says which labels a face has."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Label → (B,) bool, for images (B, 3, H, W) in [-1, 1]."""
        ...


class ImageTextEncoder(Protocol):
    """Embeds images and texts into one space, as CLIP does."""

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, D) for images (B, 3, H, W) in [-1, 1]."""
        ...

    def encode_text(self, texts: list[str]) -> Tensor:
        """(B, D)."""
        ...


@dataclass(frozen=True)
class Judges:
    """Everything that scores a clip.

    Attributes:
        recognizers: Evaluation recognizers by name; no "/" in a name. They get whole frames and no landmarks:
            one that needs aligned faces finds and aligns them itself.
        classifier: Says whether an edit is there; None leaves edit success out.
        clip: Gives the directional similarity; None leaves it out.
        flow: Estimates motion where the clip set has no exact flow; None leaves the temporal metrics out
            where there is none.
        versions: For each recognizer by its name, and for "attributes", "clip" and "flow" where there are
            such judges: something that changes whenever the judge does, such as its weights' hash.
        remark: What a reader must know about these judges.
    """

    recognizers: Mapping[str, Recognizer]
    classifier: AttributeClassifier | None = None
    clip: ImageTextEncoder | None = None
    flow: FlowEstimator | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def __post_init__(self) -> None:
        if not self.recognizers:
            raise ValueError("at least one recognizer is needed to judge identity")
        for name in self.recognizers:
            if not name or "/" in name:
                raise ValueError(f"recognizer name {name!r}: it may not be empty or hold a '/'")
        given = {"attributes": self.classifier, "clip": self.clip, "flow": self.flow, **self.recognizers}
        for name, judge in given.items():
            if judge is not None and name not in self.versions:
                raise ValueError(
                    f"judge {name!r} has no version: name its weights, so that no score outlives them"
                )

    @classmethod
    def miniature(cls) -> Self:
        """The judges that come with keyface; none of them trained ε1 or ε2, but for the CLIP pair (Eq. 6)."""
        from keyface.miniature import zoo

        folders = (*zoo.RECOGNIZERS, "attributes", "clip")
        return cls(
            zoo.recognizers(),
            zoo.attribute_classifier(),
            zoo.clip_pair(),
            versions={folder: folder_sha256(zoo.WEIGHTS / folder) for folder in folders},
            remark=(
                "The judges are the miniature's: they know rendered faces and no real ones. ε2 was trained "
                "against the same CLIP pair, so the direction similarity is no independent word on it."
            ),
        )

    @classmethod
    def load(cls, place: str) -> "Judges":
        """Call a function of the user's that makes judges.

        Args:
            place: "package.module:function".

        Raises:
            ValueError: It is of another form, or gives something else.
        """
        module, colon, name = place.partition(":")
        if not colon or not module or not name:
            raise ValueError(f"--judges {place!r}: give package.module:function")
        function = getattr(import_module(module), name, None)
        if not callable(function):
            raise ValueError(f"--judges {place}: {module} has no function {name!r}")
        judges = function()
        if not isinstance(judges, Judges):
            raise ValueError(f"--judges {place}: it gave a {type(judges).__name__}, not Judges")
        return judges

    def with_flow(self, flow: FlowEstimator) -> Self:
        """The same judges with a flow estimator; its name, which holds its weights' hash, is its version."""
        return replace(self, flow=flow, versions={**self.versions, "flow": flow.name})


@torch.inference_mode()
def edit_success(classifier: AttributeClassifier, frames: Tensor, *categories: Category) -> float:
    """The share of frames (T, 3, H, W) whose attributes are as all the categories want them."""
    labels = classifier.predict(frames)
    wanted = [labels[category.attribute] == category.present for category in categories]
    return float(torch.stack(wanted).all(dim=0).float().mean())


def folder_sha256(folder: Path) -> str:
    """One hash of all safetensors files of a folder, with their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()
