import re
from collections import Counter

import pytest
import torch

from keyface.miniature.population import captions, world
from keyface.plugins import EditError, compose, edits
from keyface.plugins.builtin import CATEGORIES

TOLD = [category for category in CATEGORIES if not category.own_labels]
"""The miniature has no words for labels that are not CelebA's."""


def target(caption: str, *names: str, choice: int | None = None) -> str:
    return compose(caption, edits.select(names), choice).target


@pytest.mark.parametrize(
    ("caption", "names", "expected"),
    [
        (
            "a photo of an old man, no beard, not smiling",
            ["young"],
            "a photo of a young man, no beard, not smiling",
        ),
        ("a photo of a young man, no beard", ["old"], "a photo of an old man, no beard"),
        ("a photo of a man", ["old"], "a photo of an old man"),
        ("a photo of an old woman, smiling", ["man"], "a photo of an old man, smiling"),
        ("an old man with no beard, black hair", ["beard"], "an old man with a full beard, black hair"),
        ("a man with a beard and sunglasses", ["goatee"], "a man with a goatee and sunglasses"),
        ("a man with a thick beard", ["goatee"], "a man with a thick goatee"),
        ("a man with a goatee in a suit", ["no-beard"], "a man with no beard in a suit"),
        ("a woman with a smile at work", ["no-smile"], "a woman not smiling at work"),
        ("a man with glasses in a suit", ["no-glasses"], "a man without glasses in a suit"),
        ("a woman, not smiling, without glasses", ["glasses", "smile"], "a woman, smiling, wearing glasses"),
        ("a woman in the rain", ["smile", "hat"], "a woman in the rain, smiling, wearing a hat"),
        ("a woman with her dog and her hat", ["man"], "a man with his dog and his hat"),
        ("a girl with Black Hair.", ["blond-hair"], "a girl with blond hair"),
        ("a mountain", ["old"], "a mountain, old"),
        ("the woman's gold ring", ["young"], "the young woman's gold ring"),
    ],
)
def test_phrases_are_replaced_in_place_or_added(caption: str, names: list[str], expected: str) -> None:
    assert target(caption, *names) == expected


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("a woman with sunglasses", "sunglasses"),
        ("a man with a beard and a hat", "hat"),
        ("a man, smiling", "smile"),
        ("an old man", "old"),
        ("a woman, not smiling", "no-smile"),
    ],
)
def test_what_is_said_already_stays(caption: str, name: str) -> None:
    assert target(caption, name) == caption


def test_not_smiling_is_not_read_as_smiling() -> None:
    assert target("a man, not smiling", "sadness") == "a man, sad"
    assert target("a man, not smiling, no beard", "smile") == "a man, smiling, no beard"


def test_no_caption_gives_the_categories_own_pair() -> None:
    pair = compose("", edits.select(["glasses", "old"]))
    assert pair.source == "a photo of a young person, without glasses"
    assert pair.target == "a photo of an old person, wearing glasses"


def test_the_source_is_the_caption_itself() -> None:
    assert compose(" a man ,  smiling. ", edits.select(["hat"])).source == "a man , smiling"


def test_choice_draws_targets_reproducibly() -> None:
    drawn = {target("a man", "beard", choice=seed) for seed in range(30)}
    assert drawn == {"a man, with a full beard", "a man, with a beard", "a man, a full beard"}
    assert target("a man", "beard", choice=5) == target("a man", "beard", choice=5)


def test_conflicts_are_errors_even_without_the_registry() -> None:
    with pytest.raises(EditError, match="conflict"):
        compose("a man", [edits["beard"], edits["no-beard"]])
    with pytest.raises(EditError, match="twice"):
        compose("a man", [edits["beard"], edits["beard"]])


def test_every_phrase_is_in_the_vocabulary_of_the_miniature() -> None:
    words = set(captions.VOCABULARY)
    for category in TOLD:
        for phrase in (*category.targets, category.source):
            assert set(re.findall("[a-z]+", phrase)) <= words, (category.name, phrase)


def test_a_negative_phrase_stands_beside_the_source() -> None:
    pair = compose("a man, clear skin", edits.select(["freckles", "smile"]))
    assert pair == ("a man, clear skin", "a man, freckles, smiling", "a man, clear skin, smooth skin")
    assert compose("a man", edits.select(["smile"])).negative is None


def test_weights_say_how_often_a_phrase_is_drawn() -> None:
    drawn = Counter(target("a man", "freckles", choice=seed) for seed in range(4000))
    shares = {text: number / 4000 for text, number in drawn.items()}
    expected = {"a man, freckles": 0.5, "a man, with freckles": 0.25, "a man, freckled skin": 0.25}
    assert shares == pytest.approx(expected, abs=0.03)


# A hat takes bangs out of the picture (and gives them back), a bald head its bangs; an edit of the words
# cannot know, so these are compared without that clause.
HIDES_BANGS = {"hat", "no-hat", "bald"}


@pytest.mark.parametrize("category", TOLD, ids=lambda category: category.name)
def test_an_edited_caption_describes_the_counterfactual_face(category) -> None:
    """The edit of the words and the edit of the face agree, for every face that training would take."""
    faces = world.draw_faces(torch.arange(150), seed=3)
    truth = world.true_labels(faces)
    goals = captions.write_captions(world.counterfactual(faces, category.attribute, category.present))
    compared = 0
    for row, (caption, goal) in enumerate(zip(captions.write_captions(faces), goals, strict=True)):
        if not category.applies_to({name: bool(held[row]) for name, held in truth.items()}):
            continue
        if category.name == "moustache" and truth["Goatee"][row]:
            continue  # a goatee with a moustache is called a goatee
        edited = compose(caption, [category]).target
        if category.name in HIDES_BANGS:
            edited, goal = (re.sub(", (no|with) bangs", "", text) for text in (edited, goal))
        assert edited == goal
        compared += 1
    assert compared >= 5
