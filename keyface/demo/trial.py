"""The demo's clip, and what its edit is worth."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from keyface.faces.recognition import Recognizer
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.metrics.locality import outside_change
from keyface.metrics.temporal import temporal_loss
from keyface.miniature.trials import FIRST_PERSON, Trial, find_person, render_trial
from keyface.models.judges import edit_success
from keyface.models.protocols import AttributeClassifier
from keyface.pictures import draw_before_after, save_png
from keyface.plugins import Category
from keyface.untrusted import read_json_object
from keyface.video import VideoReader, write_clip

PLAIN = {"Male": True, "Young": True, "No_Beard": True, "Wearing_Hat": False, "Smiling": True}
"""What the demo's person is like, but for what is edited: edits show best on a plain face."""


def write_clip_of(
    categories: Sequence[Category], path: Path, frames: int, size: int, seed: int, fps: float
) -> Trial:
    """Write the clip of somebody who lacks all the categories, and return the truth about it."""
    edited = {category.attribute for category in categories}
    plain = {label: value for label, value in PLAIN.items() if label not in edited}
    identity = find_person(categories, FIRST_PERSON, seed, also=plain)
    found = render_trial(identity, categories, frames, size, seed, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, found.frames, Fraction(fps).limit_denominator(1001))
    return found


def measure(
    found: Trial, out: Path, recognizers: Mapping[str, Recognizer], classifier: AttributeClassifier
) -> dict[str, Any]:
    """Measure edited.mp4 as it lies in the folder, and make the sheet.

    Args:
        found: The truth about clip.mp4.
        out: Holds clip.mp4, edited.mp4 and its sidecar edited.json.
        recognizers: Evaluation recognizers.
        classifier: Says whether the edits are there.
    """
    for judge in (*recognizers.values(), classifier):
        if isinstance(judge, torch.nn.Module):
            judge.to("cpu")  # the fits may have taken them to a GPU
    source, edited = (VideoReader(out / name).whole() for name in ("clip.mp4", "edited.mp4"))
    sidecar = read_json_object(out / "edited.json", allow_nan=True)
    distances = {
        name: float(cosine_distance(embed_clip(each, edited), embed_clip(each, source)))
        for name, each in recognizers.items()
    }
    success = _successes(classifier, edited, found.categories)
    names = ", ".join(category.name for category in found.categories)
    save_png(draw_before_after([(names.replace(", ", ",\n"), source, edited)], columns=6), out / "sheet.png")
    return {
        "identity_distance": fmean(list(distances.values())),
        "edit_success": fmean(success.values()) if success else None,
        "reconstruction_psnr": float(sidecar["metrics"]["reconstruction_psnr"]),
        "temporal_loss": float(temporal_loss(edited, found.flow, found.valid)),
        "autoencoder_psnr": float(sidecar["metrics"]["vae_psnr"]),
        "identity_distance_by_recognizer": distances,
        "edit_success_by_category": success,
        "edit_success_of_source": _successes(classifier, source, found.categories),
        "temporal_loss_of_source": float(temporal_loss(source, found.flow, found.valid)),
        "outside_change": float(outside_change(edited, source, found.region)),
        "frames": len(edited),
        "identity": found.identity,
        "source": sidecar["prompts"]["source"],
        "target": sidecar["prompts"]["target"],
    }


def _successes(
    classifier: AttributeClassifier, frames: Tensor, categories: Sequence[Category]
) -> dict[str, float]:
    """Return edit success by category, of those that somebody can tell."""
    found = {category.name: edit_success(classifier, frames, category) for category in categories}
    return {name: value for name, value in found.items() if value is not None}
