"""Captions that are wrong for a picture and hard to tell from its own, as NegCLIP's.

"wearing lipstick, no earrings" and "no lipstick, wearing earrings" are the same bag of words. A pair that was
never shown the one as wrong for the other gives both the same embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TypeVar

import torch

from keyface.celeba import ABSENT_PHRASES, PHRASES
from keyface.miniature.population.captions import list_phrases

Item = TypeVar("Item")

_LABELS = ("Bangs", "Wearing_Lipstick", "Heavy_Makeup", "Wearing_Earrings")
"""Those whose answers were confused; glasses and hats, which pairs show more often, were not."""


def _opposites(said: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return each phrase and its opposite, in the same wording where there is one."""
    return {
        phrase: other[name][min(number, len(other[name]) - 1)]
        for name in _LABELS
        for number, phrase in enumerate(said[name])
    }


_PRESENT, _ABSENT = _opposites(PHRASES, ABSENT_PHRASES), _opposites(ABSENT_PHRASES, PHRASES)
_CHOICES = {phrase: options for options in list_phrases().values() for phrase in options}


def exchange_answers(captions: Sequence[str]) -> list[str | None]:
    """Exchange in each caption what is there with what is not, for two things drawn by torch's generator.

    Where two things can be exchanged so that the words stay the same, such two are drawn: a text encoder
    learns the others by their words.

    Args:
        captions: Phrases joined by ", ".

    Returns:
        As many; None where a caption does not name both something that is there and something that is not.

    Example:
        >>> exchange_answers(["a photo of a woman, wearing lipstick, no earrings", "a man, no lipstick"])
        ['a photo of a woman, no lipstick, wearing earrings', None]
    """
    return [_exchanged(caption.split(", ")) for caption in captions]


def change_answers(captions: Sequence[str]) -> list[str | None]:
    """Say something else of one field of each caption, drawn by torch's generator among canonical phrases.

    It is what a captioner decides between: the whole caption is right but for one phrase.

    Args:
        captions: Phrases joined by ", ".

    Returns:
        As many; None where a caption has no canonical phrase.
    """
    return [_changed(caption.split(", ")) for caption in captions]


def _exchanged(phrases: Sequence[str]) -> str | None:
    there = [index for index, phrase in enumerate(phrases) if phrase in _PRESENT]
    missing = [index for index, phrase in enumerate(phrases) if phrase in _ABSENT]
    pairs = list(product(there, missing))
    if not pairs:
        return None
    answered = [_answered(phrases, *pair) for pair in pairs]
    return ", ".join(_draw([each for each in answered if _words(each) == _words(phrases)] or answered))


def _answered(phrases: Sequence[str], there: int, missing: int) -> list[str]:
    changed = list(phrases)
    changed[there], changed[missing] = _PRESENT[phrases[there]], _ABSENT[phrases[missing]]
    return changed


def _words(phrases: Sequence[str]) -> list[str]:
    return sorted(" ".join(phrases).split())


def _changed(phrases: Sequence[str]) -> str | None:
    places = [index for index, phrase in enumerate(phrases) if phrase in _CHOICES]
    if not places:
        return None
    changed = list(phrases)
    place = _draw(places)
    changed[place] = _draw([option for option in _CHOICES[phrases[place]] if option != phrases[place]])
    return ", ".join(changed)


def _draw(items: Sequence[Item]) -> Item:
    return items[int(torch.randint(len(items), ()))]
