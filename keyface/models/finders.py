"""What finds faces, by name: networks that find, recognize and describe them, as one suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from keyface.faces.face import Face, FaceDescriber, FaceFinder, Looks
from keyface.faces.recognition import Recognizer
from keyface.models.backbones import MINIATURE
from keyface.weights import MissingWeightsError, Store, catalogue

if TYPE_CHECKING:
    from keyface.miniature.networks.attributes import AttributeClassifier

_SAME_BY_FACE_API = 0.93
_SAME_IN_MINIATURE = 0.5


@dataclass(frozen=True)
class FaceSuite:
    """Find faces, tell people apart, and say how they look.

    Attributes:
        name: As in `FINDERS`.
        finder: Finds faces.
        recognizer: Embeds them by their landmarks.
        describer: Says how they look; None where there is none.
        same_person: Least cosine similarity of two pictures of one person.
    """

    name: str
    finder: FaceFinder
    recognizer: Recognizer
    describer: FaceDescriber | None
    same_person: float


def _human(folder: Path) -> FaceSuite:
    from keyface.faces.human import HumanFaces

    faces = HumanFaces.load(folder)
    return FaceSuite("human", faces, faces.recognizer, faces, faces.recognizer.same_person)


FINDERS: dict[str, Callable[[Path], FaceSuite]] = {"human": _human}


def find_suite(
    name: str = "auto", device: torch.device | str | None = None, store: Store | None = None
) -> FaceSuite:
    """Read what finds faces.

    Args:
        name: `human`, …; `miniature`, which knows rendered faces only; or `auto`, the first of those
            for real faces whose weights are here.
        device: Where to compute.
        store: The folder of weights; see `Store` if not given.

    Raises:
        LookupError: There is nothing of that name.
        MissingWeightsError: Weights are not here; the message says how to get them.
    """
    if name == MINIATURE:
        return _miniature()
    store = Store() if store is None else store
    if name == "auto":
        here = [each for each in FINDERS if not store.missing(catalogue()[each])]
        if not here:
            raise MissingWeightsError(
                "nothing that finds real faces is here; `keyface weights get human` brings it (144 MB), or "
                "give the square to edit by --crop x,y,size"
            )
        name = here[0]
    if name not in FINDERS:
        raise LookupError(f"finder {name!r} is unknown; there are {', '.join([*FINDERS, MINIATURE])}")
    return FINDERS[name](store.require([name])[name])


def _miniature() -> FaceSuite:
    from keyface.miniature import zoo

    return FaceSuite(
        MINIATURE,
        zoo.face_finder(),
        zoo.identity_network(),
        RenderedLooks(zoo.attribute_classifier()),
        _SAME_IN_MINIATURE,
    )


class RenderedLooks:
    """Sex and smile of rendered faces, by the miniature's classifier; it does not know ages."""

    def __init__(self, classifier: AttributeClassifier) -> None:
        self.classifier = classifier

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """Return how one face of each image looks; see `keyface.faces.face.FaceDescriber`."""
        from keyface.faces.crops import cut
        from keyface.miniature import zoo

        squares = zoo.PLACEMENT.squares(torch.stack([face.landmarks for face in faces]))
        logits = self.classifier(cut(images, squares, 128))
        chances = dict(zip(self.classifier.labels, logits.sigmoid().T.tolist(), strict=True))
        return [
            Looks(male=chances["Male"][row], expressions={"happy": chances["Smiling"][row]})
            for row in range(len(faces))
        ]
