"""Captions: what a photo's describer would say, and say truly.

What is absent is often said too ("without glasses", "not smiling"): a text encoder that only ever hears of
what is there cannot know whether silence means absence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from keyface.miniature.population.hashing import key, uniform
from keyface.miniature.population.labels import labels
from keyface.miniature.population.parameters import Faces

_HEADS = ("a photo of", "a portrait of", "a picture of")
_PEOPLE: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): ("a young man", "a young male"),
    (True, False): ("an old man", "an old male", "an elderly man"),
    (False, True): ("a young woman", "a young female"),
    (False, False): ("an old woman", "an old female", "an elderly woman"),
}
_AGELESS: Mapping[bool, tuple[str, ...]] = {
    True: ("a man", "a male"),
    False: ("a woman", "a female"),
}

Phrases = tuple[str, ...]

_YES_NO: Mapping[str, tuple[str, Phrases, Phrases]] = {
    "bangs": ("Bangs", ("with bangs", "bangs"), ("no bangs", "without bangs")),
    "hat": ("Wearing_Hat", ("wearing a hat", "with a hat"), ("without a hat", "no hat")),
    "lipstick": (
        "Wearing_Lipstick",
        ("wearing lipstick", "with lipstick"),
        ("no lipstick", "without lipstick"),
    ),
    "makeup": ("Heavy_Makeup", ("heavy makeup", "with heavy makeup"), ("no makeup", "without makeup")),
    "earrings": (
        "Wearing_Earrings",
        ("wearing earrings", "with earrings"),
        ("no earrings", "without earrings"),
    ),
}
"""Field → (label, what is said where it holds, what is said where not). The first phrase is canonical."""

_CHOICES: Mapping[str, tuple[tuple[str | None, Phrases], ...]] = {
    "facial_hair": (
        ("Beard", ("with a full beard", "with a beard", "a full beard", "bearded")),
        ("Goatee", ("with a goatee", "a goatee")),
        ("Mustache", ("with a moustache", "with a mustache", "a moustache")),
        ("5_o_Clock_Shadow", ("with stubble", "unshaven")),
        (None, ("no beard", "without a beard", "clean shaven")),
    ),
    "hair": (
        ("Bald", ("bald", "with no hair")),
        ("Black_Hair", ("black hair", "with black hair")),
        ("Brown_Hair", ("brown hair", "with brown hair")),
        ("Blond_Hair", ("blond hair", "blonde hair", "with blond hair")),
        ("Gray_Hair", ("gray hair", "grey hair", "with gray hair")),
        (None, ("red hair", "with red hair")),
    ),
    "glasses": (
        ("Sunglasses", ("wearing sunglasses", "with sunglasses")),
        ("Eyeglasses", ("wearing glasses", "wearing eyeglasses", "with glasses")),
        (None, ("without glasses", "no glasses")),
    ),
    "expression": (
        ("Smiling", ("smiling", "happy", "with a smile")),
        ("Surprised", ("surprised", "looking surprised")),
        ("Angry", ("angry", "looking angry")),
        ("Sad", ("sad", "looking sad")),
        (None, ("not smiling", "with a neutral expression")),
    ),
}
"""Field → what is said of the first label that holds; `None` holds where no other does."""

caption_fields: tuple[str, ...] = (
    "age", "facial_hair", "hair", "bangs", "glasses", "expression", "hat", "lipstick", "makeup", "earrings",
)  # fmt: skip
"""What a caption may speak of besides man or woman, in the order of the canonical caption."""

_MAX_WORDS = 30

_EDIT_WORDS = (
    "a an the of in on and or not no with without to make add remove change turn put give take off into as "
    "person face man woman male female him her his their hair eyes glasses eyeglasses sunglasses beard "
    "full bearded goatee moustache mustache stubble shaved shaven clean black brown blond blonde gray grey "
    "red bald bangs fringe hat cap lipstick makeup earrings wearing wears has is looks looking smiling smile "
    "happy surprised angry sad neutral expression young old younger older elderly aged age "
    "photo portrait picture image mouth open heavy skin lips round dark big small long short"
)


def _words() -> tuple[str, ...]:
    texts = [_EDIT_WORDS, *_HEADS]
    for group in (*_PEOPLE.values(), *_AGELESS.values()):
        texts.extend(group)
    for _, present, absent in _YES_NO.values():
        texts.extend((*present, *absent))
    for choices in _CHOICES.values():
        for _, phrases in choices:
            texts.extend(phrases)
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+", text)}))


VOCABULARY: tuple[str, ...] = _words()
"""Every word of every caption, and further words of edit prompts; sorted."""


def caption(faces: Faces, seed: int, mention: float = 0.9) -> list[str]:
    """Describes each face in a random order and choice of words.

    Args:
        faces: B faces.
        seed: Together with the face's id and pose it decides the wording, so a photo and its counterfactual
            are worded alike.
        mention: How likely each field is spoken of; cut where the caption would pass 30 words.
    """
    truth = _truth(faces)
    pose = (faces.nuisance.values[:, :3] * 1000).round().long().sum(dim=1)
    draws = uniform(key(6, faces.identity.ids.cpu(), pose.cpu(), seed), 4 * len(caption_fields) + 8).tolist()
    return [_write(truth, index, row, mention) for index, row in enumerate(draws)]


def full_caption(faces: Faces) -> list[str]:
    """Describes each face by all fields in a fixed order and in canonical words."""
    truth = _truth(faces)
    captions = []
    for index in range(len(faces)):
        person = _PEOPLE[truth["Male"][index], truth["Young"][index]][0]
        said = [_phrases(field, truth, index)[0] for field in caption_fields if field != "age"]
        captions.append(", ".join((f"a photo of {person}", *said)))
    return captions


def alternatives() -> dict[str, tuple[str, ...]]:
    """What a canonical caption can say: field → phrases, ``person`` (age and sex) first, in caption order."""
    found = {"person": tuple(f"a photo of {names[0]}" for names in _PEOPLE.values())}
    for field in caption_fields:
        if field in _YES_NO:
            _, present, absent = _YES_NO[field]
            found[field] = (present[0], absent[0])
        elif field in _CHOICES:
            found[field] = tuple(said[0] for _, said in _CHOICES[field])
    return found


def _truth(faces: Faces) -> dict[str, list[bool]]:
    known: dict[str, Tensor] = labels(faces)
    return {name: [bool(value) for value in values.tolist()] for name, values in known.items()}


def _phrases(field: str, truth: Mapping[str, list[bool]], index: int) -> Phrases:
    """The ways to say how a field is."""
    if field in _YES_NO:
        label, present, absent = _YES_NO[field]
        return present if truth[label][index] else absent
    return next(said for label, said in _CHOICES[field] if label is None or truth[label][index])


def _write(truth: Mapping[str, list[bool]], index: int, draws: list[float], mention: float) -> str:
    numbers = iter(draws)

    def pick(options: Phrases) -> str:
        # The canonical wording is used half of the time.
        chance = next(numbers)
        return options[0] if chance < 0.5 else options[int((chance - 0.5) * 2 * len(options))]

    male, young = truth["Male"][index], truth["Young"][index]
    head = pick(_HEADS)
    people = _PEOPLE[male, young] if next(numbers) < mention else _AGELESS[male]
    parts = [f"{head} {pick(people)}"]
    drawn = [
        (next(numbers), next(numbers) < mention, pick(_phrases(field, truth, index)))
        for field in caption_fields
        if field != "age"
    ]
    count = len(parts[0].split())
    for _, mentioned, phrase in sorted(drawn):
        length = len(phrase.split())
        if mentioned and count + length <= _MAX_WORDS:
            parts.append(phrase)
            count += length
    return ", ".join(parts)
