"""CelebV-HQ's annotations, `celebvhq_info.json`: what is true of each clip, and a caption made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyface.celeba import ATTRIBUTES
from keyface.untrusted import read_json

_ALIASES = {"blonde_hair": "Blond_Hair", "smile": "Smiling"}
_KNOWN = {name.lower(): name for name in ATTRIBUTES} | _ALIASES
_FACIAL_HAIR = ("No_Beard", "Goatee", "Mustache", "5_o_Clock_Shadow")
_HAIR = {"Black_Hair": "black", "Brown_Hair": "brown", "Blond_Hair": "blond", "Gray_Hair": "gray"}

_MOST_BYTES = 2**30

Labels = Mapping[str, bool]


def read_info(path: Path) -> dict[str, Labels]:
    """Read the annotations.

    Appearance labels go by CelebA's names, the action "smile" is `Smiling`, and a full beard is facial hair
    that no other label names. Emotions are not used: they change within a clip.

    Args:
        path: `celebvhq_info.json`.

    Returns:
        For each clip by its key the labels that edit categories know.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not CelebV-HQ's annotation file.
    """
    content = read_json(
        path, missing="no such file; celebvhq_info.json comes with CelebV-HQ", limit=_MOST_BYTES
    )
    try:
        columns = {
            part: _texts(content["meta_info"][f"{part}_mapping"], part) for part in ("appearance", "action")
        }
        clips: dict[str, Any] = dict(content["clips"])
        return {key: _labels(clip["attributes"], columns) for key, clip in clips.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not CelebV-HQ's annotations: {error!r:.160}") from error


def write_caption(labels: Labels) -> str:
    """Write a caption that says age, sex and hair colour as far as they are known.

    Example:
        >>> write_caption({"Male": False, "Young": True, "Blond_Hair": True})
        'a photo of a young woman with blond hair'
    """
    noun = "person" if "Male" not in labels else "man" if labels["Male"] else "woman"
    age = "" if "Young" not in labels else "young " if labels["Young"] else "old "
    colours = [word for name, word in _HAIR.items() if labels.get(name)]
    bald = labels.get("Bald", False)
    hair = f" with {colours[0]} hair" if len(colours) == 1 and not bald else ""
    return f"a photo of {'an' if age == 'old ' else 'a'} {age}{noun}{hair}"


def _texts(value: object, part: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{part}_mapping is no list of names")
    return value


def _labels(attributes: Mapping[str, Any], columns: Mapping[str, list[str]]) -> Labels:
    labels: dict[str, bool] = {}
    for part, names in columns.items():
        values = attributes[part]
        if not isinstance(values, list) or len(values) != len(names) or not set(values) <= {0, 1}:
            raise ValueError(f"{part} is not one 0 or 1 for each of {len(names)} names")
        for name, value in zip(names, values, strict=True):
            known = _KNOWN.get(name.lower().replace(" ", "_"))
            if known is not None:
                labels[known] = bool(value)
    if all(name in labels for name in _FACIAL_HAIR):
        labels["Beard"] = not any(labels[name] for name in _FACIAL_HAIR)
    return labels
