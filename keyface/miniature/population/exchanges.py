"""Captions of the same words that say something else, as NegCLIP's: what a text encoder has to tell apart.

"wearing lipstick, no earrings" and "no lipstick, wearing earrings" are the same bag of words. A pair that was
never shown the one as wrong for the other gives both the same embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from keyface.celeba import ABSENT_PHRASES, PHRASES

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


def exchange_answers(captions: Sequence[str]) -> list[str | None]:
    """Exchange in each caption what is there with what is not, for two things drawn by torch's generator.

    Args:
        captions: Phrases joined by ", ".

    Returns:
        As many; None where a caption does not name both something that is there and something that is not.

    Example:
        >>> exchange_answers(["a photo of a woman, wearing lipstick, no earrings", "a man, no lipstick"])
        ['a photo of a woman, no lipstick, wearing earrings', None]
    """
    return [_exchanged(caption.split(", ")) for caption in captions]


def _exchanged(phrases: Sequence[str]) -> str | None:
    there = [index for index, phrase in enumerate(phrases) if phrase in _PRESENT]
    missing = [index for index, phrase in enumerate(phrases) if phrase in _ABSENT]
    if not there or not missing:
        return None
    changed = list(phrases)
    one, other = (places[int(torch.randint(len(places), ()))] for places in (there, missing))
    changed[one], changed[other] = _PRESENT[phrases[one]], _ABSENT[phrases[other]]
    return ", ".join(changed)
