"""Ground truth of a rendered clip: exact flow, where it holds, and which pixels may change.

Kept below the clip set's folder as `truth/<key>.safetensors`, and the ground-truth edit as
`rendered/<key>.mp4`; clips of real people have none.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.files import replacing

EDITS = "rendered"
"""Folder of the ground-truth edits, below that of the clip set."""


@dataclass(frozen=True)
class GroundTruth:
    """What the renderer knows of one clip of T frames of S × S pixels.

    Attributes:
        flow: (T - 1, 2, S, S) float, in pixels (x, y) from each frame to the next.
        valid: (T - 1, S, S) bool, where the flow holds.
        region: (T, S, S) bool, where the edit may change the picture.
        person: (T, S, S) bool, face and hair with what is worn on them; None where it was not kept.
    """

    flow: Tensor
    valid: Tensor
    region: Tensor
    person: Tensor | None = None


def ground_truth_path(folder: Path, clip: ClipSpec) -> Path:
    """Return where a clip's ground truth is, if there is any, below the folder of the clip set."""
    return folder / "truth" / f"{clip.key}.safetensors"


def read_ground_truth(folder: Path, clip: ClipSpec) -> GroundTruth | None:
    """Read a clip's ground truth.

    Args:
        folder: The clip set's.
        clip: Whose shapes the ground truth must have.

    Returns:
        The ground truth, or None where there is no such file.

    Raises:
        ValueError: The file is damaged, or of another clip.
    """
    path = ground_truth_path(folder, clip)
    if not path.is_file():
        return None
    try:
        content = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged: {error}; render the clip set again") from error
    frames, size = clip.frames, clip.size
    shapes = {
        "flow": (frames - 1, 2, size, size),
        "valid": (frames - 1, size, size),
        "region": (frames, size, size),
        "person": (frames, size, size),
    }
    for name, shape in shapes.items():
        if name == "person" and name not in content:
            continue
        if name not in content or content[name].shape != shape:
            found = tuple(content[name].shape) if name in content else "missing"
            raise ValueError(f"{path}: {name} is {found}, clip {clip.key} needs {shape}; render it again")
    person = content.get("person")
    return GroundTruth(
        content["flow"].float(),
        content["valid"].bool(),
        content["region"].bool(),
        None if person is None else person.bool(),
    )


def write_ground_truth(folder: Path, clip: ClipSpec, truth: GroundTruth) -> None:
    """Write a clip's ground truth, whole or not at all; flow in half precision, masks as bytes."""
    path = ground_truth_path(folder, clip)
    masks = {"valid": truth.valid, "region": truth.region, "person": truth.person}
    content = {name: mask.to(torch.uint8).contiguous() for name, mask in masks.items() if mask is not None}
    with replacing(path) as temporary:
        save_file(content | {"flow": truth.flow.half().contiguous()}, temporary)
