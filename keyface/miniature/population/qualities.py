"""Shape and colour of what faces wear: what captions say of them, and which kind is meant where they do not.

A caption that says nothing of glasses or of a bald man's beard means the usual kind, as people do who
describe photos: round black glasses, a dark beard. Whatever is of another kind is always named, so a prompt
without such words asks for one thing and not for the mean of all. The kinds of hats, lipstick, makeup and
earrings are never named: the base sees all of them, and in pairs mostly the usual one is put on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from keyface.miniature.population.parameters import Faces

Words = tuple[str, ...]

GLASSES_COLOURS: tuple[tuple[str, float], ...] = (
    ("black", 0.35), ("brown", 0.65), ("red", 0.85), ("gray", 1.01),
)  # fmt: skip
"""Name of a frame's colour, up to which value of `glasses_colour`; the usual one first."""

GLASSES_SHAPES: tuple[tuple[str, float], ...] = (("round", 0.6), ("square", 1.01))
"""Name of a frame's shape, up to which value of `glasses_shape`; the usual one first."""

UNNAMED: Mapping[str, Mapping[str, float]] = {
    "hat": {"hat_style": 0.2, "hat_r": 0.3, "hat_g": 0.33, "hat_b": 0.4},
    "lipstick": {"lipstick_hue": 0.2},
    "makeup": {"makeup_hue": 0.2},
    "earrings": {"earring_style": 0.8, "makeup_hue": 0.2},
}
"""Attribute whose kind no caption names → its usual kind: a dark cap, red lips, violet lids, gold hoops.

The metal of earrings goes with `makeup_hue`.
"""

_BEARD_COLOURS = (("blond_hair", "blond"), ("gray_hair", "gray"))
_DARK = ("black_hair", "brown_hair")
_AUBURN = "red"

QUALITY_WORDS: Words = (
    *(name for name, _ in (*GLASSES_COLOURS, *GLASSES_SHAPES)),
    *(name for _, name in _BEARD_COLOURS),
    _AUBURN,
)
"""Every word that this module adds to captions."""

_GLASSES = ("glasses", "eyeglasses", "sunglasses")
_BEARDS = ("beard", "goatee", "moustache", "mustache")

_SAID_ANYWAY = 0.3
"""How often the usual shape or colour of glasses is named."""


def qualify(phrase: str, face: Mapping[str, Words], draws: tuple[float, float]) -> str:
    """Return a phrase with the words that belong before its noun.

    Args:
        phrase: As captions have it, such as `wearing glasses`.
        face: From `qualities`.
        draws: Two numbers in [0, 1): whether the usual shape and colour are named.
    """
    before, _, noun = phrase.rpartition(" ")
    if noun not in face or before in ("no", "without", "without a"):
        return phrase
    usual = (GLASSES_SHAPES[0][0], GLASSES_COLOURS[0][0])
    said = (
        word
        for word, draw in zip(face[noun], draws, strict=False)
        if word not in usual or draw < _SAID_ANYWAY
    )
    return " ".join((*before.split(), *said, noun))


def qualities(faces: Faces) -> list[dict[str, Words]]:
    """Return, for each face, noun → shape and colour of what it names."""
    shapes = [_named(value, GLASSES_SHAPES) for value in faces.condition("glasses_shape").tolist()]
    colours = [_named(value, GLASSES_COLOURS) for value in faces.condition("glasses_colour").tolist()]
    beards = _beard_colours(faces)
    found: list[dict[str, Words]] = []
    for shape, colour, beard in zip(shapes, colours, beards, strict=True):
        face: dict[str, Words] = {**dict.fromkeys(_GLASSES[:2], (shape, colour)), _GLASSES[2]: (shape,)}
        if beard:
            face |= dict.fromkeys(_BEARDS, (beard,))
        found.append(face)
    return found


def as_usual_glasses(faces: Faces, which: Tensor) -> Faces:
    """Return faces whose glasses, where `which` (B,) bool says so, are of the usual shape and colour."""
    changed = {}
    for name, names in (("glasses_shape", GLASSES_SHAPES), ("glasses_colour", GLASSES_COLOURS)):
        value = faces.condition(name)
        changed[name] = torch.where(which, value * names[0][1], value)
    return faces.with_nuisance(**changed)


def as_usual(faces: Faces, attribute: str, which: Tensor, before: Faces | None = None) -> Faces:
    """Return faces whose `attribute`, of `UNNAMED`, is of the usual kind where `which` (B,) bool says so.

    Args:
        faces: B faces.
        attribute: What they wear.
        which: Where it is to be of the usual kind.
        before: The same before an edit: what shows on these faces keeps its kind.
    """
    changed = {}
    for column, value in UNNAMED[attribute].items():
        free = which if before is None else which & ~_shows(before, column)
        changed[column] = torch.where(free, value, faces.condition(column))
    return faces.with_nuisance(**changed)


def put_on_usual(before: Faces, after: Faces) -> Faces:
    """Return faces after an edit, with what it put on of the kind that a prompt without further words means.

    What they wore before stays as it was: earrings that are put on have the metal that goes with the lids.

    Args:
        before: B faces.
        after: The same after an edit, B.
    """

    def put_on(name: str) -> Tensor:
        return _wears(after, name) & ~_wears(before, name)

    usual = as_usual_glasses(after, put_on("eyeglasses") | put_on("sunglasses"))
    for name in UNNAMED:
        usual = as_usual(usual, name, put_on(name), before)
    return usual


def _shows(faces: Faces, column: str) -> Tensor:
    """Return where something is worn whose kind a column of `UNNAMED` decides, (B,) bool."""
    return torch.stack([_wears(faces, name) for name, kind in UNNAMED.items() if column in kind]).any(dim=0)


def _wears(faces: Faces, attribute: str) -> Tensor:
    return faces.attribute(attribute) > 0.5


def _named(value: float, names: tuple[tuple[str, float], ...]) -> str:
    return next(name for name, end in names if value < end)


def _beard_colours(faces: Faces) -> list[str | None]:
    """Return the colour of bald men's beards where it is not dark; hair tells that of the others."""
    bald = (faces.attribute("bald") > 0.5).tolist()
    has = {name: (faces.attribute(name) > 0.5).tolist() for name, _ in _BEARD_COLOURS}
    dark = torch.stack([faces.attribute(name) for name in _DARK]).sum(dim=0) > 0.5
    found: list[str | None] = []
    for index, (hairless, usual) in enumerate(zip(bald, dark.tolist(), strict=True)):
        light = next((word for name, word in _BEARD_COLOURS if has[name][index]), _AUBURN)
        found.append(light if hairless and not usual else None)
    return found
