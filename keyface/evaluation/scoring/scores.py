"""The numbers of one clip: flat records whose keys are a metric's name, or "name/recognizer".

`keyface.evaluation.scoring.metrics` says what they mean. What cannot be measured is absent: locality without
regions, temporal loss of one frame, edit success of a category that the classifier has no label for.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.scoring.original import Motion, Original
from keyface.faces.recognition import Recognizer
from keyface.losses import ImageTextEncoder
from keyface.metrics.direction import direction_similarity
from keyface.metrics.flow import FlowEstimator, clip_flow
from keyface.metrics.identity import (
    clip_embedding,
    cosine_distance,
    embed_frames,
    global_similarity,
    local_similarity,
    temporal_identity,
)
from keyface.metrics.locality import background_drift, outside_change, outside_psnr
from keyface.metrics.temporal import temporal_loss
from keyface.models.judges import Judges, edit_success

BEST_PSNR = 100.0
"""dB, in place of the infinite PSNR of no change: JSON and means take no infinity."""

_CHUNK = 32

Embeddings = dict[str, Tensor]
"""Recognizer → embeddings of unit length, (T, D) of frames or (D,) of a clip."""


def embed(recognizers: Mapping[str, Recognizer], frames: Tensor) -> Embeddings:
    """Return each recognizer's embeddings (T, D) of frames (T, 3, H, W) in [-1, 1]."""
    return {name: embed_frames(each, frames).float() for name, each in recognizers.items()}


def identity(edited: Embeddings, own: Embeddings) -> dict[str, float]:
    """Return the likeness to the own original, by recognizer.

    Args:
        edited: Embeddings (T, D) of the scored frames.
        own: Those of the original's frames.
    """
    found: dict[str, float] = {}
    for name, frames in edited.items():
        distance = cosine_distance(clip_embedding(frames), clip_embedding(own[name]))
        found[f"cosine_distance/{name}"] = max(float(distance), 0.0)  # rounding may go below
        if len(frames) > 1 and min(local_similarity(own[name]), global_similarity(own[name])) > 0:
            steadiness = temporal_identity(frames, own[name])
            found |= {f"{measure}/{name}": float(value) for measure, value in steadiness.items()}
    return found


def temporal(frames: Tensor, motion: Motion | None, flow: FlowEstimator | None) -> dict[str, float]:
    """Return Eq. 7 in its variants; intensities in [0, 1].

    Args:
        frames: (T, 3, S, S) in [-1, 1].
        motion: How the original moves.
        flow: Estimates how the scored frames themselves move; None leaves that variant out.
    """
    found: dict[str, float] = {}
    if motion is not None:
        found["temporal_loss"] = float(temporal_loss(frames, motion.flow))
        found["temporal_loss_frames"] = float(temporal_loss(frames, motion.flow, normalization="frames"))
        found["temporal_loss_masked"] = float(temporal_loss(frames, motion.flow, motion.valid))
    if flow is not None and len(frames) > 1:
        found["temporal_loss_own"] = float(temporal_loss(frames, clip_flow(flow, frames)[0]))
    return found


def success(frames: Tensor, original: Tensor, clip: ClipSpec, judges: Judges) -> dict[str, float]:
    """Tell whether the edit is there, by the categories' own judges or the classifier, and by CLIP.

    Args:
        frames: (T, 3, S, S) in [-1, 1].
        original: The original's, (T, 3, S, S).
        clip: Says what was asked for.
        judges: Who judges.
    """
    found: dict[str, float] = {}
    wanted = clip.known_categories()
    seen = None if wanted is None else edit_success(judges.classifier, frames, *wanted)
    if seen is not None:
        found["edit_success"] = seen
    if judges.image_text is not None and clip.source is not None and clip.target is not None:
        found["direction_similarity"] = direction(
            judges.image_text, frames, original, clip.source, clip.target
        )
    return found


@torch.inference_mode()
def direction(encoder: ImageTextEncoder, frames: Tensor, original: Tensor, source: str, target: str) -> float:
    """Return the directional similarity of a clip's frames, averaged, in [-1, 1]; the original scores 0."""
    texts = encoder.encode_text([target, source])
    each = [
        direction_similarity(encoder.encode_image(part), encoder.encode_image(before), texts[:1], texts[1:])
        for part, before in zip(torch.split(frames, _CHUNK), torch.split(original, _CHUNK), strict=True)
    ]
    return float(torch.cat(each).mean())


def locality(frames: Tensor, original: Original) -> dict[str, float]:
    """Return what changed where nothing had to, against the original; empty without regions.

    Where there is ground truth, also how far from it the edit is inside the regions: a classifier
    takes a yellow beard for a beard, too.

    Args:
        frames: (T, 3, S, S) in [-1, 1].
        original: Knows the regions.
    """
    truth = original.ground_truth
    if truth is None:
        return {}
    unedited = original.frames
    psnr = float(outside_psnr(frames, unedited, truth.region))
    found = {
        "outside_l1": float(outside_change(frames, unedited, truth.region)),
        "outside_psnr": min(psnr, BEST_PSNR),
        "background_drift": float(background_drift(frames, unedited, truth.person, truth.region)),
    }
    if original.ground_truth_edit is not None:
        found["inside_l1"] = float(outside_change(frames, original.ground_truth_edit, ~truth.region))
    return found
