"""What finds the regions of real faces, by name: the first whose weights are here."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from keyface.faces.face_api.features import SIZE, LandmarkNetwork, five_of_68
from keyface.faces.human import mesh
from keyface.faces.parser import FaceParser
from keyface.faces.regions import LandmarkRegions, ParsedRegions, RegionSource, crop_landmarks
from keyface.weights import Store
from keyface.weights.catalogue import find_entry


def find_regions(
    name: str = "auto", store: Store | None = None, device: torch.device | str = "cpu"
) -> RegionSource | None:
    """Read what finds the regions of faces in their crops.

    Args:
        name: One of `SOURCES`; `auto` takes the first whose weights are here.
        store: The folder of weights; see `Store` if not given.
        device: Where its network runs.

    Returns:
        None with `auto` where no such weights are here: edits are then held to no region.

    Raises:
        LookupError: There is no source of that name.
        MissingWeightsError: Its files are not here; the message says how to get them.
        ValueError: A file is damaged, or of another network.
    """
    store = Store() if store is None else store
    if name == "auto":
        here = [source for source in SOURCES if not store.missing(find_entry(source))]
        if not here:
            return None
        name = here[0]
    if name not in SOURCES:
        raise LookupError(
            f"no source of face regions is called {name!r}; there are {', '.join(SOURCES)}, auto"
        )
    return SOURCES[name](store.require([name])[name], torch.device(device))


def _parser(folder: Path, device: torch.device) -> RegionSource:
    parser = FaceParser.load(folder).to(device)
    return ParsedRegions(lambda crops: parser(crops.to(device)), "face-parser")


def _mesh(folder: Path, device: torch.device) -> RegionSource:
    network = mesh.FaceMesh.load(folder).to(device)

    def points(crops: Tensor) -> Tensor:
        laid: Tensor = network(crops)[0]
        return laid

    look = crop_landmarks(points, mesh.SIZE)
    return LandmarkRegions(lambda crops: look(crops.to(device)), "human")


def _landmarks68(folder: Path, device: torch.device) -> RegionSource:
    network = LandmarkNetwork.load(folder).to(device)
    look = crop_landmarks(network, SIZE, five_of_68)
    return LandmarkRegions(lambda crops: look(crops.to(device)), "face-api")


SOURCES: Mapping[str, Callable[[Path, torch.device], RegionSource]] = {
    "face-parser": _parser,
    "human": _mesh,
    "face-api": _landmarks68,
}
"""Names of the catalogue, the most exact first."""
