"""What a face of the miniature is made of: named columns of four tensors.

Identity says who somebody is, attributes what an edit may change, nuisances how the photo was taken.
Everything that the world draws or the renderer reads is a column here, so a face is three rows of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IDENTITY_NAMES: tuple[str, ...] = (
    "skull_width", "skull_height", "cheekbones", "jaw_width", "jaw_square", "chin", "fullness",
    "eye_spacing", "eye_size", "eye_open", "eye_tilt", "eye_height", "eye_hue", "eye_shade",
    "eye_bags", "brow_thickness", "brow_arch", "brow_height", "brow_tilt",
    "nose_length", "nose_width", "nose_tip", "mouth_width", "mouth_height", "lip_fullness", "lip_bow",
    "skin_tone", "skin_hue", "ear_size", "freckles",
    "mole_1", "mole_1_x", "mole_1_y", "mole_2", "mole_2_x", "mole_2_y",
    "hair_length", "hair_volume", "hair_part", "hair_wave", "hair_shade", "hair_tuck", "hairline",
    "sideburns",
)  # fmt: skip
"""Columns of `Identity.values`, each uniform in [-1, 1]."""

NUISANCE_NAMES: tuple[str, ...] = (
    "yaw", "pitch", "roll", "x", "y", "scale",
    "light_x", "light_y", "light_strength", "ambient_r", "ambient_g", "ambient_b",
    "background_r", "background_g", "background_b",
    "background_2_r", "background_2_g", "background_2_b", "background_angle",
    "clothes_r", "clothes_g", "clothes_b", "clothes_style",
    "blink", "mouth_open", "gaze_x", "gaze_y",
    "glasses_shape", "glasses_colour", "hat_style", "hat_r", "hat_g", "hat_b",
    "lipstick_hue", "makeup_hue", "earring_style",
)  # fmt: skip
"""Columns of `Nuisance.values`.

Angles are in radians (yaw > 0 turns to the viewer's right, pitch > 0 looks down, roll > 0 is clockwise),
x and y in head units (half a head's height is 1), colours in [0, 1], amounts in [0, 1].
"""

ATTRIBUTE_NAMES: tuple[str, ...] = (
    "male", "young", "smiling", "surprised", "angry", "sad",
    "eyeglasses", "sunglasses", "beard", "goatee", "moustache", "five_o_clock_shadow",
    "black_hair", "blond_hair", "brown_hair", "gray_hair", "bangs", "bald",
    "hat", "lipstick", "makeup", "rosy_cheeks", "earrings", "necklace", "necktie",
)  # fmt: skip
"""Columns of `Attributes.values`, amounts in [0, 1]; what the renderer can add to or take from anybody."""


def columns(values: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Split `values` (B, n) into maps that broadcast against images: name → (B, 1, 1, 1)."""
    return {name: values[:, index, None, None, None] for index, name in enumerate(names)}


@dataclass(frozen=True)
class Identity:
    """Who: `values` (B, len(IDENTITY_NAMES)) in [-1, 1] and `ids` (B,) int64."""

    values: Tensor
    ids: Tensor

    def __getitem__(self, index: slice | Tensor) -> Identity:
        """Select faces."""
        return Identity(self.values[index], self.ids[index])


@dataclass(frozen=True)
class Attributes:
    """What an edit may change: `values` (B, len(ATTRIBUTE_NAMES)) in [0, 1]."""

    values: Tensor

    def __getitem__(self, index: slice | Tensor) -> Attributes:
        """Select faces."""
        return Attributes(self.values[index])


@dataclass(frozen=True)
class Nuisance:
    """How the photo was taken: `values` (B, len(NUISANCE_NAMES))."""

    values: Tensor

    def __getitem__(self, index: slice | Tensor) -> Nuisance:
        """Select faces."""
        return Nuisance(self.values[index])


@dataclass(frozen=True)
class Faces:
    """A batch of faces, everything that the renderer needs."""

    identity: Identity
    attributes: Attributes
    nuisance: Nuisance

    def __len__(self) -> int:
        """Return the number of faces."""
        return int(self.identity.ids.shape[0])

    def __getitem__(self, index: slice | Tensor) -> Faces:
        """Select faces by a slice or by an index or mask tensor."""
        return Faces(self.identity[index], self.attributes[index], self.nuisance[index])

    @staticmethod
    def cat(parts: Iterable[Faces]) -> Faces:
        """Join batches, in order."""
        items = list(parts)
        return Faces(
            Identity(
                torch.cat([item.identity.values for item in items]),
                torch.cat([item.identity.ids for item in items]),
            ),
            Attributes(torch.cat([item.attributes.values for item in items])),
            Nuisance(torch.cat([item.nuisance.values for item in items])),
        )

    def to(self, device: torch.device | str) -> Faces:
        """Move the batch to a device."""
        return Faces(
            Identity(self.identity.values.to(device), self.identity.ids.to(device)),
            Attributes(self.attributes.values.to(device)),
            Nuisance(self.nuisance.values.to(device)),
        )

    def attribute(self, name: str) -> Tensor:
        """Return one attribute column, (B,)."""
        return self.attributes.values[:, ATTRIBUTE_NAMES.index(name)]

    def trait(self, name: str) -> Tensor:
        """Return one identity column, (B,)."""
        return self.identity.values[:, IDENTITY_NAMES.index(name)]

    def condition(self, name: str) -> Tensor:
        """Return one nuisance column, (B,)."""
        return self.nuisance.values[:, NUISANCE_NAMES.index(name)]

    def with_attributes(self, **changes: float | Tensor) -> Faces:
        """Return a copy with some attribute columns set to a number or a (B,) tensor."""
        values = self.attributes.values.clone()
        for name, value in changes.items():
            values[:, ATTRIBUTE_NAMES.index(name)] = value
        return Faces(self.identity, Attributes(values), self.nuisance)

    def with_traits(self, **changes: float | Tensor) -> Faces:
        """Return a copy with some identity columns set to a number or a (B,) tensor; the ids stay."""
        values = self.identity.values.clone()
        for name, value in changes.items():
            values[:, IDENTITY_NAMES.index(name)] = value
        return Faces(Identity(values, self.identity.ids), self.attributes, self.nuisance)

    def with_nuisance(self, **changes: float | Tensor) -> Faces:
        """Return a copy with some nuisance columns set to a number or a (B,) tensor."""
        values = self.nuisance.values.clone()
        for name, value in changes.items():
            values[:, NUISANCE_NAMES.index(name)] = value
        return Faces(self.identity, self.attributes, Nuisance(values))
