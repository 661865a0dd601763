"""Captions: what a photo's describer would say, and say truly.

What is absent is often said too ("without glasses", "not smiling"): a text encoder that only ever hears of
what is there cannot know whether silence means absence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from keyface.celeba import ABSENT_PHRASES, PEOPLE, PHRASES
from keyface.miniature.population.hashing import key, uniform
from keyface.miniature.population.labels import true_labels
from keyface.miniature.population.parameters import Faces
from keyface.miniature.population.qualities import QUALITY_WORDS, Words, qualify, qualities

_HEADS = ("a photo of", "a portrait of", "a picture of")
_AGELESS: Mapping[bool, tuple[str, ...]] = {
    True: ("a man", "a male"),
    False: ("a woman", "a female"),
}

Phrases = tuple[str, ...]

_YES_NO: Mapping[str, str] = {
    "bangs": "Bangs",
    "hat": "Wearing_Hat",
    "lipstick": "Wearing_Lipstick",
    "makeup": "Heavy_Makeup",
    "earrings": "Wearing_Earrings",
}
"""Field → the attribute that a caption says is there, or is not."""

_CHOICES: Mapping[str, tuple[tuple[str | None, Phrases], ...]] = {
    "facial_hair": (
        *((name, PHRASES[name]) for name in ("Beard", "Goatee", "Mustache", "5_o_Clock_Shadow")),
        (None, PHRASES["No_Beard"]),
    ),
    "hair": (
        *((name, PHRASES[name]) for name in ("Bald", "Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")),
        (None, ("red hair", "with red hair")),
    ),
    "glasses": (
        *((name, PHRASES[name]) for name in ("Sunglasses", "Eyeglasses")),
        (None, ABSENT_PHRASES["Eyeglasses"]),
    ),
    "expression": (
        *((name, PHRASES[name]) for name in ("Smiling", "Surprised", "Angry", "Sad")),
        (None, ABSENT_PHRASES["Smiling"]),
    ),
}
"""Field → what is said of the first attribute that holds; `None` holds where no other does."""

CAPTION_FIELDS: tuple[str, ...] = (
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
    texts = [_EDIT_WORDS, *_HEADS, *QUALITY_WORDS]
    for group in (*PEOPLE.values(), *_AGELESS.values()):
        texts.extend(group)
    for name in _YES_NO.values():
        texts.extend((*PHRASES[name], *ABSENT_PHRASES[name]))
    for choices in _CHOICES.values():
        for _, phrases in choices:
            texts.extend(phrases)
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+", text)}))


VOCABULARY: tuple[str, ...] = _words()
"""Every word of every caption, and further words of edit prompts; sorted."""


def draw_captions(faces: Faces, seed: int, mention: float = 0.9) -> list[str]:
    """Describe each face in a random order and choice of words.

    Args:
        faces: B faces.
        seed: Together with the face's id and pose it decides the wording, so a photo and its counterfactual
            are worded alike.
        mention: How likely each field is spoken of; cut where the caption would pass 30 words.
    """
    truth = _listed(true_labels(faces))
    pose = (faces.nuisance.values[:, :3] * 1000).round().long().sum(dim=1)
    draws = uniform(key(6, faces.identity.ids.cpu(), pose.cpu(), seed), 4 * len(CAPTION_FIELDS) + 8).tolist()
    return [
        _write(truth, index, row, mention, face)
        for index, (row, face) in enumerate(zip(draws, qualities(faces), strict=True))
    ]


def write_captions(faces: Faces) -> list[str]:
    """Describe each face by all fields in a fixed order and in canonical words."""
    return write_captions_of(true_labels(faces))


def write_captions_of(labels: Mapping[str, Tensor]) -> list[str]:
    """Describe labels {name: (B,) bool} as `write_captions` does the faces that have them."""
    truth = _listed(labels)
    captions = []
    for index in range(len(truth["Male"])):
        person = PEOPLE[truth["Male"][index], truth["Young"][index]][0]
        said = [_phrases(field, truth, index)[0] for field in CAPTION_FIELDS if field != "age"]
        captions.append(", ".join((f"a photo of {person}", *said)))
    return captions


def list_phrases() -> dict[str, tuple[str, ...]]:
    """List what a canonical caption says, in order: field → phrases, `person` (age and sex) first."""
    found = {"person": tuple(f"a photo of {names[0]}" for names in PEOPLE.values())}
    for field in CAPTION_FIELDS:
        if field in _YES_NO:
            found[field] = (PHRASES[_YES_NO[field]][0], ABSENT_PHRASES[_YES_NO[field]][0])
        elif field in _CHOICES:
            found[field] = tuple(said[0] for _, said in _CHOICES[field])
    return found


def _listed(labels: Mapping[str, Tensor]) -> dict[str, list[bool]]:
    return {name: [bool(value) for value in values.tolist()] for name, values in labels.items()}


def _phrases(field: str, truth: Mapping[str, list[bool]], index: int) -> Phrases:
    """Return the ways to say how a field is."""
    if field in _YES_NO:
        name = _YES_NO[field]
        return (PHRASES if truth[name][index] else ABSENT_PHRASES)[name]
    return next(said for label, said in _CHOICES[field] if label is None or truth[label][index])


def _write(
    truth: Mapping[str, list[bool]], index: int, draws: list[float], mention: float, face: Mapping[str, Words]
) -> str:
    numbers = iter(draws)
    named = (draws[-2], draws[-1])

    def pick(options: Phrases) -> str:
        # The canonical wording is used half of the time.
        chance = next(numbers)
        return options[0] if chance < 0.5 else options[int((chance - 0.5) * 2 * len(options))]

    male, young = truth["Male"][index], truth["Young"][index]
    head = pick(_HEADS)
    people = PEOPLE[male, young] if next(numbers) < mention else _AGELESS[male]
    parts = [f"{head} {pick(people)}"]
    drawn = [
        (
            next(numbers),
            next(numbers) < mention,
            qualify(pick(_phrases(field, truth, index)), face, named),
        )
        for field in CAPTION_FIELDS
        if field != "age"
    ]
    count = len(parts[0].split())
    for _, mentioned, phrase in sorted(drawn):
        length = len(phrase.split())
        if mentioned and count + length <= _MAX_WORDS:
            parts.append(phrase)
            count += length
    return ", ".join(parts)
