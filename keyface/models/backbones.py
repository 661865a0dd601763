"""Backbones by name: the miniature, what is in the folder of weights, files, folders and the model hub."""

from pathlib import Path

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.backbone_files import load_backbone
from keyface.models.requirements import require_weights
from keyface.weights import Store, catalogue

MINIATURE = "miniature"
"""The word for the networks that come with keyface; `miniature:FOLDER` for such networks from elsewhere."""


def miniature_weights(name: object) -> Path | None:
    """Return the folder of the miniature's networks that a name means; None where it means others.

    Example:
        >>> miniature_weights("miniature:runs/miniature/weights")
        PosixPath('runs/miniature/weights')

    Raises:
        FileNotFoundError: The folder is not there.
    """
    word, _, folder = name.partition(":") if isinstance(name, str) else ("", "", "")
    if word != MINIATURE:
        return None
    from keyface.miniature import zoo

    if not folder:
        return zoo.WEIGHTS
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{name}: no such folder; `keyface miniature train` writes one")
    return Path(folder)


def find_backbone(name: str | Backbone) -> Backbone:
    """Read a backbone in single precision.

    Args:
        name: `miniature`, also with a folder of its networks, `miniature:FOLDER`; a name of
            `keyface.weights.catalogue`; what
            `keyface.diffusion.backbone_files.load_backbone` takes; or a backbone, which is returned as it is.

    Raises:
        FileNotFoundError: Nothing of that name is here; the message says how to get it.
        ValueError: What is there cannot be read.
    """
    if isinstance(name, Backbone):
        return name
    if (weights := miniature_weights(name)) is not None:
        from keyface.miniature import zoo

        return zoo.backbone(weights)
    require_weights(name)
    return load_backbone(place_of(name))


def place_of(name: str) -> str:
    """Return where the weights of a name of the catalogue lie; any other name as it is.

    Raises:
        MissingWeightsError: The name is in the catalogue and its files are not here.
    """
    entry = catalogue().get(name)
    if entry is None or entry.kind != "backbone":
        return name
    folder = Store().require([name])[name]
    return str(folder if len(entry.files) > 1 else folder / entry.files[0].path)
