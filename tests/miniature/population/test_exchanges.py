"""Captions of the same words that say something else."""

import torch

from keyface.miniature.population.captions import VOCABULARY, draw_captions, write_captions
from keyface.miniature.population.exchanges import exchange_answers
from keyface.miniature.population.world import draw_faces


def words(caption: str) -> list[str]:
    return sorted(caption.replace(",", "").split())


def test_one_thing_that_is_there_and_one_that_is_not_are_exchanged() -> None:
    torch.manual_seed(0)
    captions = write_captions(draw_faces(torch.arange(100), 0))
    exchanged = exchange_answers(captions)
    found = [(one, other) for one, other in zip(captions, exchanged, strict=True) if other is not None]
    assert len(found) > 20
    for one, other in found:
        differing = [
            pair for pair in zip(one.split(", "), other.split(", "), strict=True) if len({*pair}) > 1
        ]
        assert len(differing) == 2
        there = [first.startswith(("wearing", "with ", "heavy")) for first, _ in differing]
        assert sorted(there) == [False, True], "one was there, one was not"
    assert any(words(one) == words(other) for one, other in found), "some are the same bag of words"


def test_every_wording_is_exchanged_into_words_that_the_tokenizer_knows() -> None:
    torch.manual_seed(0)
    captions = [text for seed in range(5) for text in draw_captions(draw_faces(torch.arange(60), seed), seed)]
    for other in exchange_answers(captions):
        if other is not None:
            assert set(other.replace(",", "").split()) <= set(VOCABULARY)


def test_which_two_is_drawn_anew_each_time() -> None:
    torch.manual_seed(0)
    caption = "a woman, heavy makeup, with bangs, no lipstick, no earrings"
    assert len({exchange_answers([caption])[0] for _ in range(60)}) == 4


def test_a_caption_without_both_has_none() -> None:
    assert exchange_answers(["a man, no beard, no lipstick", "a woman, with bangs", ""]) == [None] * 3
