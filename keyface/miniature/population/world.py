"""The population: who exists, and which photos of them are taken.

Every number is a hash of what it is for (person, seed, column), so a face does not depend on the batch
that it was drawn in, and a person can be drawn again years later from the id alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from keyface.miniature.population.hashing import key, uniform
from keyface.miniature.population.labels import counterfactual, true_labels
from keyface.miniature.population.parameters import (
    ATTRIBUTE_NAMES,
    IDENTITY_NAMES,
    NUISANCE_NAMES,
    Attributes,
    Faces,
    Identity,
    Nuisance,
)

__all__ = ["DEFAULT_RATES", "HELD_OUT", "counterfactual", "draw_faces", "draw_identities", "true_labels"]

HELD_OUT = 1_000_000
"""Identities from this id on are never trained on."""

DEFAULT_RATES: Mapping[str, float] = {
    "Male": 0.5, "Young": 0.7,
    "Smiling": 0.45, "Surprised": 0.05, "Angry": 0.05, "Sad": 0.05,
    "Eyeglasses": 0.2, "Sunglasses": 0.06,
    "Beard": 0.25, "Goatee": 0.12, "Mustache": 0.12, "5_o_Clock_Shadow": 0.12,
    "Black_Hair": 0.32, "Brown_Hair": 0.32, "Blond_Hair": 0.24, "Gray_Hair": 0.6,
    "Bald": 0.12, "Bangs": 0.25, "Wearing_Hat": 0.08,
    "Wearing_Lipstick": 0.5, "Heavy_Makeup": 0.35, "Rosy_Cheeks": 0.2, "Wearing_Earrings": 0.35,
    "Wearing_Necklace": 0.3, "Wearing_Necktie": 0.2, "Mouth_Slightly_Open": 0.08,
}  # fmt: skip
"""How often a label is drawn, among those who usually have it.

Facial hair, Bald and Wearing_Necktie are rates among men; lipstick, makeup, rosy cheeks, earrings and
necklaces among women; Gray_Hair among the old. The others get them too, but rarely (a twentieth), so no
attribute is impossible on anybody. Sunglasses and Eyeglasses exclude each other, as do the full beard,
goatee and stubble, the hair colours, and the expressions (in the order written).
"""

_IDENTITY, _PERSON, _PHOTO, _NUISANCE = 1, 2, 3, 4
_RARE = 0.05


def draw_identities(ids: Tensor) -> Identity:
    """Return the people with these ids (B,): a function of each id alone."""
    ids = ids.to(torch.int64)
    return Identity(2.0 * uniform(key(_IDENTITY, ids), len(IDENTITY_NAMES)) - 1.0, ids)


def draw_faces(ids: Tensor, seed: int | Tensor, rates: Mapping[str, float] | None = None) -> Faces:
    """Take a photo of each person.

    Args:
        ids: Identity ids, (B,). An id that occurs again in the batch gets another photo.
        seed: One seed, or one a face (B,).
        rates: Replaces some of `DEFAULT_RATES`, for instance to draw more glasses while training.

    Returns:
        B faces. Each depends only on its id, its seed and how often the id came before it in the batch.
    """
    ids = ids.to(torch.int64).cpu()
    seed = torch.as_tensor(seed, dtype=torch.int64).cpu()
    photo = key(ids, seed, _occurrence(ids))
    unknown = set(rates or {}) - set(DEFAULT_RATES)
    if unknown:
        raise ValueError(f"unknown rates {sorted(unknown)}, known are {sorted(DEFAULT_RATES)}")
    rate = {**DEFAULT_RATES, **(rates or {})}
    return Faces(draw_identities(ids), _attributes(ids, photo, rate), _nuisance(photo, rate))


def _occurrence(ids: Tensor) -> Tensor:
    """Count how often each id came before in the batch, (B,)."""
    order = torch.argsort(ids, stable=True)
    position = torch.arange(len(ids))
    first = torch.searchsorted(ids[order], ids[order])
    return torch.empty_like(ids).scatter_(0, order, position - first)


def _attributes(ids: Tensor, photo: Tensor, rate: Mapping[str, float]) -> Attributes:
    person = dict(zip(("male", "young", "colour", "bald"), uniform(key(_PERSON, ids), 4).T, strict=True))
    draws: Iterator[Tensor] = iter(uniform(key(_PHOTO, photo), 40).unbind(1))
    value = dict.fromkeys(ATTRIBUTE_NAMES, torch.zeros(len(ids)))

    def draw(chance: Tensor | float) -> Tensor:
        return torch.lt(next(draws), chance)

    # A person keeps sex, age and hair colour over most photos; a quarter is taken in another age and a
    # quarter after dyeing, so that no recognizer can live on these alone.
    male = person["male"] < rate["Male"]
    young = torch.where(draw(0.75), person["young"], next(draws)) < rate["Young"]
    colour = torch.where(draw(0.75), person["colour"], next(draws))
    men = torch.where(male, 1.0, _RARE)
    women = torch.where(male, _RARE, 1.0)
    old = torch.where(young, _RARE, 1.0)
    value["male"], value["young"] = male.float(), young.float()

    taken = torch.zeros_like(male)
    for name, label in (
        ("surprised", "Surprised"), ("angry", "Angry"), ("sad", "Sad"), ("smiling", "Smiling"),
    ):  # fmt: skip
        drawn = draw(rate[label]) & ~taken
        value[name], taken = drawn.float(), taken | drawn

    value["sunglasses"] = draw(rate["Sunglasses"]).float()
    value["eyeglasses"] = (draw(rate["Eyeglasses"]) & (value["sunglasses"] == 0)).float()

    taken = torch.zeros_like(male)
    for name, label in (
        ("beard", "Beard"), ("goatee", "Goatee"), ("five_o_clock_shadow", "5_o_Clock_Shadow"),
    ):  # fmt: skip
        drawn = draw(rate[label] * men) & ~taken
        value[name], taken = drawn.float(), taken | drawn
    value["moustache"] = (draw(rate["Mustache"] * men) & ~taken).float()

    gray = draw(rate["Gray_Hair"] * old)
    low, scale = 0.0, torch.where(gray, 0.0, 1.0)
    for name, label in (
        ("black_hair", "Black_Hair"), ("brown_hair", "Brown_Hair"), ("blond_hair", "Blond_Hair"),
    ):  # fmt: skip
        high = low + rate[label]
        value[name] = ((colour >= low) & (colour < high)).float() * scale
        low = high
    value["gray_hair"] = gray.float()

    value["bald"] = (torch.where(draw(0.8), person["bald"], next(draws)) < rate["Bald"] * men).float()
    value["bangs"] = (draw(rate["Bangs"]) & (value["bald"] == 0)).float()
    value["hat"] = draw(rate["Wearing_Hat"]).float()
    for name, label, who in (
        ("lipstick", "Wearing_Lipstick", women), ("makeup", "Heavy_Makeup", women),
        ("rosy_cheeks", "Rosy_Cheeks", women), ("earrings", "Wearing_Earrings", women),
        ("necklace", "Wearing_Necklace", women), ("necktie", "Wearing_Necktie", men),
    ):  # fmt: skip
        value[name] = draw(rate[label] * who).float()
    return Attributes(torch.stack([value[name] for name in ATTRIBUTE_NAMES], dim=1))


def _nuisance(photo: Tensor, rate: Mapping[str, float]) -> Nuisance:
    draws: Iterator[Tensor] = iter(uniform(key(_NUISANCE, photo), 64).unbind(1))
    value: dict[str, Tensor] = {}

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * next(draws)

    def bell(reach: float) -> Tensor:
        """Draw symmetrically about 0 within ± reach, denser in the middle."""
        return reach * (next(draws) + next(draws) - 1.0)

    def muted(saturation: float, low: float, high: float) -> tuple[Tensor, ...]:
        hue, chroma, level = between(0.0, 2 * math.pi), between(0.0, saturation), between(low, high)
        return tuple(level + chroma * torch.cos(hue + 2 * math.pi * third / 3) for third in range(3))

    value["yaw"] = 0.6 * between(-0.45, 0.45) + 0.4 * bell(0.45)
    value["pitch"], value["roll"] = bell(0.16), bell(0.10)
    value["x"], value["y"], value["scale"] = bell(0.07), bell(0.05), 1.0 + bell(0.07)
    value["light_x"], value["light_y"] = between(-0.7, 0.7), between(-0.8, -0.2)
    value["light_strength"] = between(0.75, 1.15)
    warmth = bell(0.05)
    value["ambient_r"], value["ambient_g"] = 1.0 + warmth, 1.0 + 0.2 * warmth
    value["ambient_b"] = 1.0 - warmth
    first = muted(0.05, 0.42, 0.82)
    second = tuple(channel + shift for channel, shift in zip(first, muted(0.04, -0.12, 0.1), strict=True))
    clothes = muted(0.12, 0.2, 0.68)
    hat = muted(0.16, 0.18, 0.6)
    for prefix, colour in (
        ("background", first), ("background_2", second), ("clothes", clothes), ("hat", hat),
    ):  # fmt: skip
        for channel, amount in zip("rgb", colour, strict=True):
            value[f"{prefix}_{channel}"] = amount.clamp(0.05, 0.92)
    value["background_angle"] = between(0.0, 2 * math.pi)
    value["clothes_style"] = between(0.0, 1.0)
    closed, opened = next(draws) < 0.02, next(draws) < rate["Mouth_Slightly_Open"]
    value["blink"] = torch.where(closed, between(0.7, 1.0), 0.0)
    value["mouth_open"] = torch.where(opened, between(0.5, 1.0), 0.0)
    value["gaze_x"], value["gaze_y"] = bell(1.0), bell(0.8)
    for name in ("glasses_shape", "glasses_colour", "hat_style", "lipstick_hue", "makeup_hue",
                 "earring_style"):  # fmt: skip
        value[name] = between(0.0, 1.0)
    return Nuisance(torch.stack([value[name] for name in NUISANCE_NAMES], dim=1))
