"""From a face's columns to the measures of its drawing, a number a face.

Canonical coordinates are those of the frontal face: u to the viewer's right, y down, the eyes near y = 0,
the chin near 1 and the top of the skull near -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.population.parameters import (
    ATTRIBUTE_NAMES,
    IDENTITY_NAMES,
    NUISANCE_NAMES,
    columns,
)

HEAD_UNITS = 64.0 / 48.0
"""Half of the image in head units at scale 1: the head with its hair fills 105 of 128 rows."""


@dataclass(frozen=True)
class Geometry:
    """Measures in head units, each (B, 1, 1, 1), and the columns that they come from."""

    trait: dict[str, Tensor]
    has: dict[str, Tensor]
    photo: dict[str, Tensor]
    old: Tensor
    gape: Tensor
    width: Tensor
    top: Tensor
    chin: Tensor
    jaw_power: Tensor
    jaw_taper: Tensor
    cheek: Tensor
    eye_x: Tensor
    eye_y: Tensor
    eye_width: Tensor
    eye_upper: Tensor
    eye_lower: Tensor
    brow_y: Tensor
    nose_y: Tensor
    nose_width: Tensor
    mouth_y: Tensor
    mouth_width: Tensor
    mouth_curve: Tensor
    lip_upper: Tensor
    lip_lower: Tensor
    hair_long: Tensor


def derive_geometry(identity: Tensor, attributes: Tensor, nuisance: Tensor) -> Geometry:
    """Derive the drawing's measures from the three tensors of `Faces`, each (B, n)."""
    i = columns(identity, IDENTITY_NAMES)
    a = columns(attributes, ATTRIBUTE_NAMES)
    n = columns(nuisance, NUISANCE_NAMES)
    male, old = a["male"], 1.0 - a["young"]
    smile, surprised, angry, sad = a["smiling"], a["surprised"], a["angry"], a["sad"]
    gape = torch.maximum(n["mouth_open"] * 0.13, surprised * 0.28)
    full = i["fullness"].clamp(min=0.0)

    chin = 0.96 + 0.07 * i["chin"] + 0.30 * gape
    eye_y = 0.04 + 0.045 * i["eye_height"]
    nose_y = 0.37 + 0.055 * i["nose_length"]
    eye_scale = (1.0 - 0.10 * old) * (1.0 - 0.14 * smile + 0.32 * surprised - 0.12 * angry - 0.12 * sad)
    opened = 1.0 - n["blink"]
    eye_upper = (0.094 + 0.014 * i["eye_size"] + 0.027 * i["eye_open"]) * eye_scale
    eye_lower = (0.064 + 0.010 * i["eye_size"] + 0.012 * i["eye_open"]) * eye_scale * (1 - 0.25 * smile)
    return Geometry(
        trait=i,
        has=a,
        photo=n,
        old=old,
        gape=gape,
        width=0.68 + 0.06 * i["skull_width"] + 0.015 * male + 0.04 * full,
        top=-0.98 - 0.05 * i["skull_height"],
        chin=chin,
        jaw_power=2.65 + 0.75 * i["jaw_square"] + 0.35 * male + 0.5 * full + 0.25 * old,
        jaw_taper=(0.235 - 0.125 * i["jaw_width"] - 0.05 * male - 0.12 * full - 0.04 * old).clamp(min=0.0),
        cheek=0.02 + 0.045 * i["cheekbones"] + 0.06 * full + 0.02 * smile,
        eye_x=0.315 + 0.04 * i["eye_spacing"],
        eye_y=eye_y,
        eye_width=0.168 + 0.025 * i["eye_size"],
        # A blink brings the upper lid down to the lower one, which hardly moves.
        eye_upper=eye_upper * opened - 0.6 * eye_lower * n["blink"],
        eye_lower=eye_lower,
        brow_y=eye_y - 0.225 - 0.035 * i["brow_height"] - 0.075 * surprised + 0.05 * angry - 0.01 * sad,
        nose_y=nose_y,
        nose_width=0.135 + 0.045 * i["nose_width"] + 0.012 * male,
        mouth_y=0.625 + 0.03 * i["mouth_height"] + 0.45 * (nose_y - 0.37) + 0.25 * gape,
        mouth_width=(0.235 + 0.045 * i["mouth_width"]) * (1 + 0.24 * smile - 0.28 * surprised - 0.05 * angry),
        mouth_curve=0.125 * smile - 0.10 * sad - 0.07 * angry + 0.005,
        lip_upper=(0.046 + 0.022 * i["lip_fullness"])
        * (1 - 0.25 * old)
        * (1 - 0.12 * male)
        * (1 - 0.15 * smile),
        lip_lower=(0.064 + 0.026 * i["lip_fullness"]) * (1 - 0.22 * old) * (1 - 0.10 * male),
        hair_long=0.6 * i["hair_length"] + 0.5 - 1.15 * male,
    )
