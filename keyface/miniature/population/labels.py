"""Names for what is in a face: CelebA's 40 attributes and the world's own labels, and how to change one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from keyface.celeba import ATTRIBUTES
from keyface.miniature.population.parameters import Faces

CONTROLLABLE: Mapping[str, str] = {
    "5_o_Clock_Shadow": "five_o_clock_shadow", "Angry": "angry", "Bald": "bald", "Bangs": "bangs",
    "Beard": "beard", "Black_Hair": "black_hair", "Blond_Hair": "blond_hair", "Brown_Hair": "brown_hair",
    "Eyeglasses": "eyeglasses", "Goatee": "goatee", "Gray_Hair": "gray_hair", "Heavy_Makeup": "makeup",
    "Male": "male", "Mustache": "moustache", "Rosy_Cheeks": "rosy_cheeks", "Sad": "sad",
    "Smiling": "smiling", "Sunglasses": "sunglasses", "Surprised": "surprised",
    "Wearing_Earrings": "earrings", "Wearing_Hat": "hat", "Wearing_Lipstick": "lipstick",
    "Wearing_Necklace": "necklace", "Wearing_Necktie": "necktie", "Young": "young",
}  # fmt: skip
"""Label → the attribute column behind it."""

_EXPRESSIONS = ("smiling", "surprised", "angry", "sad")
_HAIR_COLOURS = ("black_hair", "blond_hair", "brown_hair", "gray_hair")
_FACIAL_HAIR = ("beard", "goatee", "moustache", "five_o_clock_shadow")

# Setting the key clears the values: the two could not be seen, or not told apart, together.
_EXCLUDES: Mapping[str, tuple[str, ...]] = {
    **{name: tuple(other for other in _EXPRESSIONS if other != name) for name in _EXPRESSIONS},
    **{name: (*(other for other in _HAIR_COLOURS if other != name), "bald") for name in _HAIR_COLOURS},
    "beard": ("goatee", "moustache", "five_o_clock_shadow"),
    "goatee": ("beard", "five_o_clock_shadow"),
    "moustache": ("beard", "five_o_clock_shadow"),
    "five_o_clock_shadow": ("beard", "goatee", "moustache"),
    "eyeglasses": ("sunglasses",),
    "sunglasses": ("eyeglasses",),
    "bald": ("bangs",),
    "bangs": ("bald", "hat"),
    "hat": (),
}


def true_labels(faces: Faces) -> dict[str, Tensor]:
    """Return what is true of each face: every name of `keyface.celeba.ATTRIBUTES` → (B,) bool.

    `Attractive` and `Blurry` are always false: the first is an annotator's opinion and the second does
    not happen here. A hidden thing is labelled as a photo's annotator would: no hair colour on a bald head,
    no bangs under a hat.
    """
    column, trait = faces.attribute, faces.trait

    def has(name: str) -> Tensor:
        return column(name) > 0.5

    never = torch.zeros(len(faces), dtype=torch.bool, device=faces.identity.ids.device)
    bald, makeup = has("bald"), has("makeup")
    hair = ~bald
    derived: dict[str, Tensor] = {
        "Arched_Eyebrows": trait("brow_arch") > 0.35,
        "Attractive": never,
        "Bags_Under_Eyes": ~has("young") | (trait("eye_bags") > 0.6),
        "Bangs": has("bangs") & hair & ~has("hat"),
        "Big_Lips": trait("lip_fullness") > 0.4,
        "Big_Nose": trait("nose_width") > 0.4,
        "Black_Hair": has("black_hair") & hair,
        "Blond_Hair": has("blond_hair") & hair,
        "Blurry": never,
        "Brown_Hair": has("brown_hair") & hair,
        "Bushy_Eyebrows": trait("brow_thickness") > 0.4,
        "Chubby": trait("fullness") > 0.5,
        "Double_Chin": trait("fullness") > 0.7,
        "Gray_Hair": has("gray_hair") & hair,
        "High_Cheekbones": (trait("cheekbones") > 0.3) | has("smiling"),
        "Mouth_Slightly_Open": (faces.condition("mouth_open") > 0.3) | has("surprised"),
        "Mustache": has("moustache"),
        "Narrow_Eyes": trait("eye_open") < -0.5,
        "No_Beard": ~torch.stack([has(name) for name in _FACIAL_HAIR]).any(dim=0),
        "Oval_Face": (trait("jaw_square") < 0.0) & (trait("fullness") < 0.3) & (trait("skull_width") < 0.3),
        "Pale_Skin": trait("skin_tone") < -0.7,
        "Pointy_Nose": trait("nose_tip") > 0.4,
        "Receding_Hairline": (trait("hairline") > 0.5) & hair,
        "Rosy_Cheeks": has("rosy_cheeks") | makeup,
        "Sideburns": has("male") & (trait("sideburns") > 0.3) & hair,
        "Straight_Hair": (trait("hair_wave") < -0.25) & hair,
        "Wavy_Hair": (trait("hair_wave") > 0.25) & hair,
    }
    return {name: derived[name] if name in derived else has(CONTROLLABLE[name]) for name in ATTRIBUTES}


def own_labels(faces: Faces) -> dict[str, Tensor]:
    """Return what else is true of each face, by labels of edit categories' own → (B,) bool.

    Networks and shards know nothing of them.
    """
    return {"Freckles": faces.trait("freckles") > 0.5}


def counterfactual(faces: Faces, label: str, value: bool) -> Faces:
    """Return the same photos of the same people with one label changed.

    What the label excludes goes with it: one expression or hair colour at a time, glasses or sunglasses, and
    `Eyeglasses=False` takes off either. Faces that already are as asked stay as they are, except that
    exclusions hold.

    Args:
        faces: B faces.
        label: One of `CHANGEABLE`.
        value: The label's new truth, for all.
    """
    if label in _SPECIAL:
        return _SPECIAL[label](faces, value)
    if label not in CONTROLLABLE:
        raise ValueError(f"{label!r} cannot be changed, only {sorted(CHANGEABLE)}")
    column = CONTROLLABLE[label]
    cleared = _EXCLUDES.get(column, ()) if value else ()
    return faces.with_attributes(**dict.fromkeys(cleared, 0.0), **{column: float(value)})


def _eyeglasses(faces: Faces, value: bool) -> Faces:
    return faces.with_attributes(eyeglasses=float(value), sunglasses=0.0)


def _no_beard(faces: Faces, value: bool) -> Faces:
    faces = faces.with_attributes(**dict.fromkeys(_FACIAL_HAIR, 0.0))
    return faces if value else faces.with_attributes(beard=1.0)


def _mouth(faces: Faces, value: bool) -> Faces:
    if not value:
        faces = faces.with_attributes(surprised=0.0)
    return faces.with_nuisance(mouth_open=0.8 * float(value))


def _freckles(faces: Faces, value: bool) -> Faces:
    return faces.with_traits(freckles=1.0 if value else -1.0)


_SPECIAL: Mapping[str, Callable[[Faces, bool], Faces]] = {
    "Eyeglasses": _eyeglasses,
    "No_Beard": _no_beard,
    "Mouth_Slightly_Open": _mouth,
    "Freckles": _freckles,
}

CHANGEABLE: frozenset[str] = frozenset((*CONTROLLABLE, *_SPECIAL))
"""Labels that `counterfactual` can change; the others follow from a person's features."""
