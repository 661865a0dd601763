"""Captions pictures of the miniature with its CLIP pair, as BLIP-2 captions real photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import torch
from torch import Tensor

from keyface.miniature.networks.clip import ClipPair
from keyface.miniature.population.captions import list_phrases

_PASSES = 2


@torch.no_grad()
def describe(pair: ClipPair, features: Tensor) -> list[str]:
    """Choose for each field of the canonical caption the phrase that fits a picture best.

    Coordinate ascent: starting from the last phrases, one field after the other takes the phrase whose
    whole caption lies closest to the picture, twice around, since fields explain each other (a bald head
    has no bangs). Then two questions of yes and no at once, for all such two: from "wearing lipstick, no
    earrings" each single step to "no lipstick, wearing earrings" is a step away from the picture.

    Args:
        pair: The CLIP pair.
        features: (B, D), the pictures' embeddings, or means of those of several frames.

    Returns:
        One canonical caption a row.
    """
    fields = list_phrases()
    chosen = [{field: options[-1] for field, options in fields.items()} for _ in range(len(features))]
    single = [(field,) for field in fields]
    double = combinations([field for field, options in fields.items() if len(options) == 2], 2)
    for group in (*single * _PASSES, *double):
        _choose(pair, features, chosen, {field: fields[field] for field in group})
    return [_join(row) for row in chosen]


def _choose(
    pair: ClipPair, features: Tensor, chosen: list[dict[str, str]], group: Mapping[str, Sequence[str]]
) -> None:
    """Give the fields of a group, field → phrases, those phrases that together fit best, in each row."""
    options = [dict(zip(group, each, strict=True)) for each in product(*group.values())]
    texts = [_join(row | option) for row in chosen for option in options]
    similarity = pair.encode_text(texts).view(len(features), len(options), -1) @ features[:, :, None]
    for row, best in zip(chosen, similarity[..., 0].argmax(1).tolist(), strict=True):
        row.update(options[best])


def _join(row: dict[str, str]) -> str:
    return ", ".join(row.values())
