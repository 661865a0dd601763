"""The small words around a phrase: articles, pronouns, "with", and what is said twice."""

import pytest

from keyface.plugins import compose, edits
from keyface.plugins.category import Category
from keyface.plugins.compose import PromptPair


def target(caption: str, *names: str) -> str:
    return compose(caption, edits.select(names)).target


def told(caption: str, phrase: str, *replaces: str, place: str = "clause") -> str:
    """The caption after an edit whose only phrase is `phrase`."""
    category = Category("own", (phrase,), "another phrase", "Young", replaces=replaces, place=place)
    return compose(caption, [category]).target


def test_pronouns_follow_the_person() -> None:
    assert (
        target("a woman, she likes herself, the hat is hers, her hair is long", "man")
        == "a man, he likes himself, the hat is his, his hair is long"
    )
    assert (
        target("a man, he likes himself, his dog likes him", "woman")
        == "a woman, she likes herself, her dog likes her"
    )
    assert told("a girl with her dog", "child", "girl", place="noun") == "a child with her dog"


def test_articles_by_sound_at_the_beginning_too() -> None:
    assert target("A young man", "old") == "An old man"
    assert target("An old man", "young") == "A young man"
    assert target("man with a hat", "old") == "old man with a hat"


def test_a_noun_leaves_its_article_to_the_phrase() -> None:
    assert told("a man with a full beard", "a goatee", "full beard") == "a man with a goatee"


@pytest.mark.parametrize(
    "old", ["no beard", "not bearded", "without beard", "wearing fluff", "a chin", "an odd chin", "the chin"]
)
def test_what_opens_a_phrase_is_no_noun(old: str) -> None:
    """ "a man" before it must not be read as the article of what is replaced."""
    assert told(f"a man {old}", "a goatee", old) == "a man a goatee"


def test_the_longest_of_several_phrases_gives_way() -> None:
    assert told("a man with long hair", "short hair", "long", "long hair") == "a man with short hair"


def test_a_phrase_of_another_case_and_without_its_verb_is_there_already() -> None:
    assert told("a man with a hat and Glasses", "wearing glasses") == "a man with a hat and Glasses"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man, no beard, smiling, no beard", "a man, with a full beard, smiling"),
        ("a man, no beard, no beard, smiling", "a man, with a full beard, smiling"),
        ("a man, no beard, and still no beard", "a man, with a full beard, and still no beard"),
    ],
)
def test_a_clause_that_says_it_again_goes(caption: str, expected: str) -> None:
    assert target(caption, "beard") == expected


def test_without_a_negative_there_is_none() -> None:
    assert PromptPair("a man", "an old man").negative is None
