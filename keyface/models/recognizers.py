"""Face recognition networks by name: what is in the folder of weights, behind one protocol."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from keyface.faces.arcface.recognizer import ArcFace
from keyface.faces.detecting import DetectingRecognizer
from keyface.faces.face_api import FaceApi
from keyface.faces.face_api.recognition import FaceApiRecognizer
from keyface.faces.facenet.recognizer import FaceNet
from keyface.faces.recognition import Recognizer
from keyface.faces.vggface import VGGFace
from keyface.models.backbones import miniature_weights
from keyface.weights import Store, catalogue

READERS: Mapping[str, Callable[[Path], Recognizer]] = {
    "arcface": ArcFace.from_file,
    "cosface": ArcFace.from_file,  # the same format with other weights
    "facenet": FaceNet.from_file,
    "vggface": VGGFace.from_file,
    "face-api": FaceApiRecognizer.load,
}
"""What reads each of the catalogue's recognizers: a file, or face-api's folder."""

FINDER = "face-api"
"""Whose detector finds the faces for recognizers of whole frames."""


def load_recognizer(name: str, store: Store | None = None) -> Recognizer:
    """Read a recognizer that aligns faces by five landmarks itself.

    Args:
        name: `arcface`, `cosface`, `facenet`, `vggface` or `face-api`, from the folder of weights;
            or such a name, a colon and a path, as in `arcface:models/mine.onnx`.
        store: The folder of weights; see `Store` if not given.

    Raises:
        LookupError: There is no recognizer of that name.
        MissingWeightsError: Its files are not here; the message says how to get them.
        ValueError: A file is damaged, or of another network.
    """
    kind, _, path = name.partition(":")
    if kind not in READERS:
        raise LookupError(
            f"recognizer {name!r} is unknown; there are {', '.join(READERS)}, each also as NAME:PATH"
        )
    if path:
        return READERS[kind](Path(path))
    store = Store() if store is None else store
    folder = store.require([kind])[kind]
    # face-api is a folder of several networks, the others are one file each.
    return READERS[kind](folder if kind == "face-api" else folder / catalogue()[kind].files[0].path)


def find_identity_network(network: str | nn.Module) -> Recognizer:
    """Read f_arc of Eq. 5.

    Args:
        network: `miniature` or `miniature:FOLDER`; what `load_recognizer` takes; or a network, which is
            returned as it is.

    Raises:
        LookupError: There is no recognizer of that name.
        MissingWeightsError: Its files are not here; the message says how to get them.
        ValueError: A file is damaged, or of another network.
    """
    if isinstance(network, nn.Module):
        return network
    if (weights := miniature_weights(network)) is not None:
        from keyface.miniature import zoo

        return zoo.identity_network(weights)
    return load_recognizer(network)


def load_recognizers(names: list[str], store: Store | None = None) -> dict[str, Recognizer]:
    """Read several recognizers by name, see `load_recognizer`; what is missing is listed together."""
    store = Store() if store is None else store
    store.require([name for name in names if name in READERS])
    return {name.partition(":")[0]: load_recognizer(name, store) for name in names}


def load_finding(names: list[str], store: Store | None = None) -> dict[str, Recognizer]:
    """Read recognizers that find the faces by face-api's detector, for frames without landmarks.

    Raises:
        MissingWeightsError: Files are missing, the detector's among them.
    """
    store = Store() if store is None else store
    needed = [*(name for name in names if name in READERS), FINDER]
    folders = store.require(dict.fromkeys(needed))
    finder = FaceApi.load(folders[FINDER])
    loaded = load_recognizers(names, store)
    return {name: DetectingRecognizer(recognizer, finder) for name, recognizer in loaded.items()}
