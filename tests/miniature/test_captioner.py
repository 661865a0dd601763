"""The search for the caption that fits best."""

from typing import cast

import torch

from keyface.miniature.captioner import describe
from keyface.miniature.networks.clip import ClipPair


class Likes:
    """Embeds texts on a line, by how well they fit; pictures are at 1."""

    def __init__(self, scores: dict[tuple[str, str], float]) -> None:
        self.scores = scores

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        found = [
            sum(score for phrases, score in self.scores.items() if all(each in text for each in phrases))
            for text in texts
        ]
        return torch.tensor(found, dtype=torch.float32)[:, None]


def test_two_answers_are_changed_at_once_where_each_alone_would_fit_less() -> None:
    pair = Likes({("no lipstick", "wearing earrings"): 1.0, ("wearing lipstick", "no earrings"): 0.9})
    (caption,) = describe(cast(ClipPair, pair), torch.ones(1, 1))
    assert ", no lipstick, " in caption
    assert caption.endswith(", wearing earrings")


def test_fields_explain_each_other() -> None:
    """Old men fit when they are bald, and the hair is decided after the person: once around is too little."""
    pair = Likes({("an old man", "bald"): 1.0, ("a young man",): 0.2, ("bald",): 0.1})
    captions = describe(cast(ClipPair, pair), torch.ones(2, 1))
    assert captions[0] == captions[1]
    assert captions[0].startswith("a photo of an old man, ")
    assert ", bald, " in captions[0]
