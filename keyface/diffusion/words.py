"""What a text encoder cannot be told."""

import re
from typing import Any


def unknown_words(text: str, tokenizer: Any) -> list[str]:
    """Return the words of a text, without punctuation, that the tokenizer has no token for, each once.

    Stable Diffusion's tokenizer is made of pieces of words and knows them all.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
    return [word for word in words if unknown in tokenizer(word, verbose=False).input_ids]
