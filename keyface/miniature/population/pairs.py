"""Training pairs of the miniature: a face and its twin with one attribute changed."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature.population import world
from keyface.miniature.population.hashing import key, uniform
from keyface.miniature.population.parameters import Faces
from keyface.miniature.population.qualities import UNNAMED, as_usual, as_usual_glasses

RATES: dict[str, float] = {
    "Eyeglasses": 0.35,
    "Sunglasses": 0.25,
    "Beard": 0.35,
    "Mustache": 0.2,
    "Goatee": 0.2,
    "Smiling": 0.4,
    "Surprised": 0.1,
    "Angry": 0.15,
    "Sad": 0.15,
    "Young": 0.6,
    "Bangs": 0.35,
    "Wearing_Hat": 0.12,
    "Heavy_Makeup": 0.45,
}
"""Rates of the training set: what is rare in CelebA is drawn more often, so that it is learned."""

FLIPS: dict[str, int] = {
    "Eyeglasses": 5, "Sunglasses": 2, "Smiling": 10, "Surprised": 3, "Angry": 4, "Sad": 4,
    "Beard": 3, "Mustache": 2, "Goatee": 2, "5_o_Clock_Shadow": 1, "Young": 5, "Male": 2,
    "Bangs": 8, "Black_Hair": 1, "Blond_Hair": 2, "Brown_Hair": 1, "Gray_Hair": 1, "Bald": 1,
    "Wearing_Hat": 1, "Wearing_Lipstick": 2, "Heavy_Makeup": 2, "Wearing_Earrings": 1,
}  # fmt: skip
"""Labels that a twin may differ in and how often, relatively: small changes need more examples."""

_PAIR_STREAM, _FURTHER_STREAM, _USUAL_STREAM = 7001, 7002, 7003
_MOST_FLIPS = 3
_OWN_KIND = 0.25


def counterfactual_pairs(ids: Tensor, seed: int, further: float = 0.0) -> tuple[Faces, Faces]:
    """Draw faces and their twins.

    Args:
        ids: (B,) identities; repeated ids give further pictures of the same person.
        seed: Decides attributes, nuisances and which labels change.
        further: Probability that a twin differs in a second label, too, and, if so, in a third.

    Returns:
        Faces and twins, B each; a twin differs in labels of `FLIPS` and in what excludes them.
    """
    faces = world.draw_faces(ids, seed, RATES)
    choices = uniform(key(ids, torch.arange(len(ids)), seed, _PAIR_STREAM), _MOST_FLIPS)
    more = uniform(key(ids, torch.arange(len(ids)), seed, _FURTHER_STREAM), _MOST_FLIPS) < further
    bounds = torch.tensor(list(FLIPS.values())).cumsum(0)
    twins = faces.with_attributes()
    going = torch.ones(len(ids), dtype=torch.bool)
    untouched = world.true_labels(faces)
    for flip in range(_MOST_FLIPS):
        choice = torch.bucketize(choices[:, flip] * bounds[-1], bounds, right=True)
        labels = world.true_labels(twins)
        for number, name in enumerate(FLIPS):
            # What one flip changed stays as it is.
            wanted = going & (choice == number) & (labels[name] == untouched[name])
            for value in (True, False):
                index = torch.nonzero(wanted & (labels[name] != value)).flatten()
                if len(index):
                    changed = world.counterfactual(twins[index], name, value)
                    twins.attributes.values[index] = changed.attributes.values
        going = going & more[:, flip]
        if not going.any():
            break
    return faces, twins


def usual_kinds(faces: Faces, twins: Faces, seed: int) -> tuple[Faces, Faces]:
    """Return the pairs with what only one side wears of the usual kind, see `qualities`.

    One of four keeps its own hat, lipstick, makeup and earrings, whose kind captions do not name, so that all
    kinds are learned to be taken off. Glasses are always of the usual kind.
    """
    differ = {
        name: faces.attribute(name) != twins.attribute(name)
        for name in ("eyeglasses", "sunglasses", *UNNAMED)
    }
    glasses = differ["eyeglasses"] | differ["sunglasses"]
    sides = [as_usual_glasses(side, glasses) for side in (faces, twins)]
    draws = uniform(key(faces.identity.ids, torch.arange(len(faces)), seed, _USUAL_STREAM), 1)[:, 0]
    for name in UNNAMED:
        which = differ[name] & (draws >= _OWN_KIND)
        sides = [as_usual(side, name, which) for side in sides]
    return sides[0], sides[1]
