"""What the data's captions say and the text encoder cannot be told."""

import re
from collections.abc import Iterable
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from keyface.diffusion.words import unknown_words


class CaptionWords:
    """Warns of words in captions that a text encoder has no token for, of each once.

    Args:
        tokenizer: Of the text encoder.
        most: So many warnings are given; data in another language would give one a step.

    Example:
        >>> class Letters:
        ...     unk_token_id, eos_token_id = 0, 1
        >>> CaptionWords(Letters(), most=3).left
        3
    """

    def __init__(self, tokenizer: Any, most: int = 5) -> None:
        self.left = most
        self._tokenizer = tokenizer
        self._seen: set[str] = set()

    def look(self, captions: Iterable[str]) -> None:
        """Look at the captions of a batch, and warn of unknown words that no batch before had."""
        if not self.left:
            return
        words = dict.fromkeys(word for text in captions for word in re.findall(r"[^\W_]+", text.lower()))
        fresh = [word for word in words if word not in self._seen]
        self._seen.update(fresh)
        if unknown := unknown_words(" ".join(fresh), self._tokenizer):
            self.left -= 1
            last = "" if self.left else "; further words are not told of"
            rank_zero_warn(
                f"captions of the data: the text encoder does not know {', '.join(unknown)}; "
                f"it reads them as one and the same word{last}"
            )
