"""Measures of the clips that a run edits at validation, by example and by category."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from keyface.callbacks.clip_networks import ClipNetworks
from keyface.callbacks.clips import Example
from keyface.metrics.direction import direction_similarity
from keyface.metrics.identity import cosine_distance, embed_clip
from keyface.metrics.locality import outside_change
from keyface.metrics.temporal import temporal_loss
from keyface.models.judges import edit_success

MEASURES = (
    "edit_success",
    "outside_change",
    "identity_distance",
    "direction_similarity",
    "temporal_loss",
    "reconstruction_psnr",
)


@dataclass(frozen=True)
class Result:
    """One edit of one clip and what was measured on it."""

    example: Example
    edited: Tensor
    measures: Mapping[str, float]


def measure(example: Example, source: Tensor, edited: Tensor, networks: ClipNetworks) -> dict[str, float]:
    """Measure an edit against its source, as far as somebody can tell.

    Args:
        example: What was edited; may know the flow and the region.
        source: Its frames (T, 3, H, W) in [-1, 1], on the device where the networks are to run.
        edited: (T, 3, H, W) in [-1, 1], there.
        networks: Who judges.

    Returns:
        Of `MEASURES`, without the reconstruction's, and `identity_distance/<recognizer>`.
    """
    recognizers, pair = networks.recognizers, networks.image_text
    for judge in (*recognizers.values(), pair):
        if isinstance(judge, nn.Module):
            judge.to(source.device)
    measures = {}
    for name, recognizer in recognizers.items():
        distance = cosine_distance(embed_clip(recognizer, edited), embed_clip(recognizer, source))
        measures[f"identity_distance/{name}"] = float(distance)
    measures["identity_distance"] = sum(measures.values()) / max(len(measures), 1)
    if pair is not None:
        similarity = direction_similarity(
            pair.encode_image(edited),
            pair.encode_image(source),
            pair.encode_text([example.prompts.target]),
            pair.encode_text([example.prompts.source]),
        )
        measures["direction_similarity"] = float(similarity.mean())
    success = edit_success(networks.classifier, edited, *example.categories)
    if success is not None:
        measures["edit_success"] = success
    if example.flow is not None:
        measures["temporal_loss"] = float(temporal_loss(edited.cpu(), example.flow, example.valid))
    if example.region is not None:
        measures["outside_change"] = float(outside_change(edited.cpu(), example.frames, example.region))
    return measures


def measures_by_category(results: Sequence[Result]) -> dict[str, float]:
    """Return the mean of each measure over the examples that have it, and `<measure>/<category>` likewise.

    Of single recognizers, `identity_distance/<recognizer>`, there is the mean over all examples alone.
    """
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.measures.items():
            values.setdefault(name, []).append(value)
            if "/" not in name:
                for category in result.example.categories:
                    values.setdefault(f"{name}/{category.name}", []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}
