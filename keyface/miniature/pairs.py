"""Training pairs of the miniature: a face and its twin with one attribute changed."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature import world
from keyface.miniature.hashing import key, uniform
from keyface.miniature.parameters import Faces

RATES: dict[str, float] = {
    "Eyeglasses": 0.4,
    "Sunglasses": 0.35,
    "Beard": 0.4,
    "Mustache": 0.12,
    "Goatee": 0.12,
    "Smiling": 0.45,
    "Young": 0.6,
    "Bangs": 0.35,
    "Wearing_Hat": 0.12,
}
"""Rates of the training set: what is rare in CelebA is drawn more often, so that it is learned."""

FLIPS: tuple[str, ...] = (
    "Eyeglasses", "Eyeglasses", "Sunglasses", "Beard", "Beard", "Mustache", "Goatee", "Smiling", "Smiling",
    "Young", "Young", "Bangs", "Male", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald",
    "Wearing_Hat", "Wearing_Lipstick", "Heavy_Makeup", "Wearing_Earrings", "Surprised", "Angry", "Sad",
)  # fmt: skip
"""Labels that a twin may differ in; twice where the change is small and needs more examples."""

_PAIR_STREAM = 7001


def counterfactual_pairs(ids: Tensor, seed: int) -> tuple[Faces, Faces]:
    """Draws faces and their twins.

    Args:
        ids: (B,) identities; repeated ids give further pictures of the same person.
        seed: Decides attributes, nuisances and which label changes.

    Returns:
        Faces and twins, B each; a twin differs in one label of :data:`FLIPS` and in what excludes it.
    """
    faces = world.sample(ids, seed, RATES)
    choice = uniform(key(ids, torch.arange(len(ids)), seed, _PAIR_STREAM), 1)[:, 0].mul(len(FLIPS)).long()
    labels = world.labels(faces)
    twins = faces.with_attributes()
    for name in dict.fromkeys(FLIPS):
        wanted = torch.tensor([FLIPS[int(c)] == name for c in choice])
        for value in (True, False):
            index = torch.nonzero(wanted & (labels[name] != value)).flatten()
            if len(index):
                changed = world.counterfactual(faces[index], name, value)
                twins.attributes.values[index] = changed.attributes.values
    return faces, twins
