"""The words of an edit: from the user, from categories, or from a captioner that looks at the clip."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from keyface.editing.settings import Prompts
from keyface.plugins import compose

if TYPE_CHECKING:
    from keyface.pipeline.companions import ClipCaptioner
    from keyface.pipeline.request import VideoRequest
    from keyface.pipeline.square import SquareFrames


def write_prompts(request: VideoRequest, captioner: ClipCaptioner | None, frames: SquareFrames) -> Prompts:
    """Return the prompts: the source caption, which is found if it is not given, and the target.

    Args:
        request: Gives the words, or the categories that write them.
        captioner: Finds the source caption.
        frames: What it looks at.

    Raises:
        ValueError: There is no source caption, or nothing would change.
    """
    source = request.source
    if source is None:
        if captioner is None:
            raise ValueError('--source "..." is needed with these weights: say in words what the clip shows')
        source = captioner(frames.looks())
    target = request.prompt if request.prompt is not None else compose(source, request.categories).target
    if target.strip() == source.strip():
        raise ValueError(f"nothing to change: the clip is taken for {source!r}; correct that with --source")
    return Prompts(source, target, request.negative)


def warn_of_prompts(prompts: Prompts, tokenizer: Any) -> None:
    """Warn of prompts that the text encoder cannot take in whole."""
    for name, text in (("source", prompts.source), ("target", prompts.target)):
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > tokenizer.model_max_length:
            kept = tokenizer.decode(tokens[: tokenizer.model_max_length], skip_special_tokens=True)
            warnings.warn(f"{name} prompt is too long; only this much of it is used: {kept!r}", stacklevel=2)
        unknown = _unknown_words(text, tokenizer)
        if unknown:
            warnings.warn(f"{name} prompt: the text encoder does not know {', '.join(unknown)}", stacklevel=2)


def _unknown_words(text: str, tokenizer: Any) -> list[str]:
    """Return the words, without punctuation, that the tokenizer has no token for."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
    return [word for word in words if unknown in tokenizer(word, verbose=False).input_ids]
