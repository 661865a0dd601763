"""Face finders by name: what is in the folder of weights, with the networks that go with each.

A suite is what following people through a video takes: a finder, a recognizer that tells them apart, and a
network that guesses how they look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from keyface.faces.face import FaceDescriber, FaceFinder
from keyface.faces.recognition import Recognizer
from keyface.models.backbones import MINIATURE
from keyface.weights import MissingWeightsError, Store
from keyface.weights.finders import NO_FINDER, finders_here, require_finder

AUTO = "auto"


@dataclass(frozen=True)
class FaceSuite:
    """Networks that find faces, tell people apart, and guess how they look.

    Attributes:
        name: One of `FINDERS`.
        finder: Finds faces and their landmarks.
        recognizer: Takes those landmarks.
        describer: Looks at the faces that the finder found.
        same_person: Least cosine similarity of the recognizer's embeddings of two pictures of one person.
    """

    name: str
    finder: FaceFinder
    recognizer: Recognizer
    describer: FaceDescriber
    same_person: float


def _insightface(folder: Path, device: torch.device, strict: bool) -> FaceSuite:
    from keyface.faces.insightface import InsightFace

    faces = InsightFace.load(folder, device, strict=strict)
    # The package's own default for its packs: insightface/gui/core/constants.py.
    return FaceSuite("insightface", faces, faces.recognizer.to(device), faces, same_person=0.4)


def _human(folder: Path, device: torch.device, strict: bool) -> FaceSuite:
    from keyface.faces.human import HumanFaces

    faces = HumanFaces.load(folder).to(device)
    return FaceSuite("human", faces, faces.recognizer, faces, faces.recognizer.same_person)


def _face_api(folder: Path, device: torch.device, strict: bool) -> FaceSuite:
    from keyface.faces.face_api import FaceApi

    faces = FaceApi.load(folder).to(device)
    # On face-api's six sample pictures: 99 % of pairs of other faces are below, 92 % of pairs of one face and
    # its copies (relit, blurred, turned by 12 degrees) above.
    return FaceSuite("face-api", faces, faces.recognizer, faces, same_person=0.45)


def _miniature(device: torch.device) -> FaceSuite:
    from keyface.miniature import zoo
    from keyface.miniature.faces import LandmarkRecognizer, MiniatureDescriber

    finder = zoo.face_finder().to(device)
    # One that edits are not trained against. Of 60 held-out people with four pictures each, with other
    # attributes, 6 % of pairs are on the wrong side, as many of one person as of two.
    recognizer = LandmarkRecognizer(zoo.recognizer("recognizer_convnext")).to(device)
    describer = MiniatureDescriber(zoo.attribute_classifier().to(device), zoo.PLACEMENT)
    return FaceSuite(MINIATURE, finder, recognizer, describer, same_person=0.27)


_REAL: Mapping[str, Callable[[Path, torch.device, bool], FaceSuite]] = {
    "insightface": _insightface,
    "human": _human,
    "face-api": _face_api,
}

FINDERS = (*_REAL, MINIATURE)
"""Names of suites, in the order of choice; `auto` never takes the miniature's, which knows rendered faces."""


def find_suite(
    name: str = AUTO, device: torch.device | str = "cpu", *, store: Store | None = None, strict: bool = False
) -> FaceSuite:
    """Read a suite by name.

    Args:
        name: One of `FINDERS`; such a name, a colon and a folder, as in `insightface:packs/antelopev2`; or
            `auto`, the first finder of real faces whose weights are here.
        device: Where the networks run.
        store: The folder of weights; see `Store` if not given.
        strict: Refuse, instead of warn, where insightface does not use the device.

    Raises:
        LookupError: There is no suite of that name.
        MissingWeightsError: Files are not here; the message says what brings them.
        ImportError: A package is missing or does not load.
        ValueError: A file is damaged, or `strict` and the device is not used.
    """
    store, device = Store() if store is None else store, torch.device(device)
    kind, _, folder = name.partition(":")
    if kind == AUTO and not folder:
        kind = next(finders_here(store), "")
        if not kind:
            raise MissingWeightsError(f"{NO_FINDER}, and {MINIATURE} for rendered faces")
    if kind not in FINDERS or (folder and kind == MINIATURE):
        raise LookupError(
            f"face finder {name!r} is unknown; there are {AUTO}, {', '.join(FINDERS)}, and NAME:FOLDER for "
            f"{', '.join(_REAL)}"
        )
    if kind == MINIATURE:
        return _miniature(device)
    return _REAL[kind](Path(folder).expanduser() if folder else require_finder(kind, store), device, strict)
