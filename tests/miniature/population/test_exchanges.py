"""Captions that are wrong and hard to tell from the right ones."""

import torch

from keyface.miniature.population.captions import VOCABULARY, draw_captions, list_phrases, write_captions
from keyface.miniature.population.exchanges import change_answers, exchange_answers
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


def test_words_stay_the_same_where_they_can() -> None:
    """Of these four only the two that are worn can change places without a change of words."""
    torch.manual_seed(0)
    caption = "a woman, with bangs, wearing lipstick, no makeup, no earrings"
    found = {exchange_answers([caption])[0] for _ in range(20)}
    assert found == {"a woman, with bangs, no lipstick, no makeup, wearing earrings"}


def test_one_phrase_is_changed_into_another_of_its_field() -> None:
    torch.manual_seed(0)
    captions = write_captions(draw_faces(torch.arange(100), 0))
    fields = {phrase: field for field, options in list_phrases().items() for phrase in options}
    changed_fields = set()
    for one, other in zip(captions, change_answers(captions), strict=True):
        assert other is not None
        ((said, instead),) = (
            pair for pair in zip(one.split(", "), other.split(", "), strict=True) if len({*pair}) > 1
        )
        assert fields[said] == fields[instead]
        changed_fields.add(fields[said])
    assert changed_fields == set(list_phrases())
    assert change_answers(["somebody in other words"]) == [None]


def test_a_caption_without_both_has_none() -> None:
    assert exchange_answers(["a man, no beard, no lipstick", "a woman, with bangs", ""]) == [None] * 3
