"""Captions pictures of the miniature with its CLIP pair, as BLIP-2 captions real photographs."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature.networks.clip import ClipPair
from keyface.miniature.population.captions import list_phrases

_PASSES = 2


@torch.no_grad()
def describe(pair: ClipPair, features: Tensor) -> list[str]:
    """Choose for each field of the canonical caption the phrase that fits a picture best.

    Coordinate ascent: starting from the first phrases, one field after the other takes the phrase whose
    whole caption lies closest to the picture, twice around, since fields explain each other (a bald head
    has no bangs).

    Args:
        pair: The CLIP pair.
        features: (B, D), the pictures' embeddings, or means of those of several frames.

    Returns:
        One canonical caption a row.
    """
    fields = list_phrases()
    chosen = [{field: options[-1] for field, options in fields.items()} for _ in range(len(features))]
    for _ in range(_PASSES):
        for field, options in fields.items():
            texts = [_join({**row, field: option}) for row in chosen for option in options]
            similarity = pair.encode_text(texts).view(len(features), len(options), -1) @ features[:, :, None]
            for row, best in zip(chosen, similarity[..., 0].argmax(1).tolist(), strict=True):
                row[field] = options[best]
    return [_join(row) for row in chosen]


def _join(row: dict[str, str]) -> str:
    return ", ".join(row.values())
