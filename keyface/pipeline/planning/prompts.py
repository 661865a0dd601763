"""The words of an edit: from the user, from categories, from captioners, or from what is seen in the face."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keyface.celeba import PEOPLE, PHRASES
from keyface.diffusion.words import unknown_words
from keyface.editing.settings import Prompts
from keyface.plugins import compose

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.faces.face import Looks
    from keyface.pipeline.companions import ClipCaptioner
    from keyface.pipeline.request.request import VideoRequest
    from keyface.plugins import Category

OLD_FROM_YEARS = 55
"""CelebA knows young and old only; a guess of the age is off by some years."""

_EXPRESSIONS = {"happy": "Smiling", "surprise": "Surprised", "surprised": "Surprised"} | {
    "angry": "Angry",
    "sad": "Sad",
}
"""Expressions as networks name them → the label whose phrase says so."""


def write_prompts(
    request: VideoRequest,
    categories: Sequence[Category],
    frames: Tensor,
    captioner: ClipCaptioner | None,
    looks: Looks | None,
) -> Prompts:
    """Return the prompts of one clip: the source caption, which is found if it is not given, and the target.

    Args:
        request: Gives the words.
        categories: Write the target where the request has no prompt.
        frames: A few of the clip, (n, 3, H, W) in [-1, 1], for the captioner.
        captioner: Finds the source caption; None where there is none for these faces.
        looks: What is seen in the face, in place of a captioner.

    Raises:
        ValueError: There is no source caption, or nothing would change.
    """
    source = request.source
    if source is None and captioner is not None:
        source = captioner(frames)
    if source is None:
        source = caption_of(looks)
    if source is None:
        raise ValueError('--source "..." is needed with these weights: say in words what the clip shows')
    pair = compose(source, categories)
    target = pair.target if request.prompt is None else request.prompt
    if target.strip() == source.strip():
        raise ValueError(f"nothing to change: the clip is taken for {source!r}; correct that with --source")
    return Prompts(source, target, pair.negative if request.negative is None else request.negative)


def caption_of(looks: Looks | None) -> str | None:
    """Say in a sentence what a network guessed of a face; None where it did not even guess age and sex."""
    if looks is None or looks.age is None or looks.male is None:
        return None
    words = [f"a photo of {PEOPLE[looks.male >= 0.5, looks.age < OLD_FROM_YEARS][0]}"]
    if looks.expressions:
        name = max(looks.expressions, key=lambda each: looks.expressions[each])
        if name in _EXPRESSIONS:
            words.append(PHRASES[_EXPRESSIONS[name]][0])
    return ", ".join(words)


def warn_of_prompts(prompts: Prompts, tokenizer: Any) -> None:
    """Warn of prompts that the text encoder cannot take in whole."""
    words = {"source": prompts.source, "target": prompts.target, "negative": prompts.negative}
    for name, text in words.items():
        if text is None:
            continue
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > tokenizer.model_max_length:
            kept = tokenizer.decode(tokens[: tokenizer.model_max_length], skip_special_tokens=True)
            warnings.warn(f"{name} prompt is too long; only this much of it is used: {kept!r}", stacklevel=2)
        if unknown := unknown_words(text, tokenizer):
            warnings.warn(f"{name} prompt: the text encoder does not know {', '.join(unknown)}", stacklevel=2)
