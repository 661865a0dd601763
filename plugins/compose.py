"""Writes the source and the target prompt of one or several edits into a face's caption."""

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from keyface.plugins.category import Category
from keyface.plugins.faults import EditError

PERSON = "a photo of a person"
"""The caption of a face that nobody described."""

_NOUNS = "man|woman|male|female|person|boy|girl|guy|lady|gentleman|child|baby|face|head"
_DETERMINERS = "a|an|the|his|her|their"
_PRONOUNS = {
    "man": {"she": "he", "her": "his", "hers": "his", "herself": "himself"},
    "woman": {"he": "she", "his": "her", "him": "her", "himself": "herself"},
}


class PromptPair(NamedTuple):
    """What describes the face before the edit (`source`) and after it (`target`), and what guidance avoids.

    Without a `negative` guidance moves away from the source.
    """

    source: str
    target: str
    negative: str | None = None


def compose(caption: str, categories: Sequence[Category], choice: int | None = None) -> PromptPair:
    """Write one prompt pair for all categories at once.

    What the caption says against a category (its `replaces`) gives way to its target phrase, in place;
    where the caption is silent, the phrase is added: a clause at the end, an adjective before the person.
    A caption that already says the target stays.

    Args:
        caption: What the face looks like before the edit; empty stands for `PERSON` with the categories'
            own `source` phrases.
        categories: The edits; their order is the order in which phrases are added.
        choice: Seed that draws one of each category's target phrases, by their weights; `None` takes the
            first.

    Raises:
        EditError: Two of the categories conflict or are the same.

    Example:
        >>> from keyface.plugins.registry import edits
        >>> compose("a photo of a young woman, without glasses", edits.select(["old", "glasses"])).target
        'a photo of an old woman, wearing glasses'
    """
    refuse_conflicts(categories)
    draw = random.Random(choice) if choice is not None else None
    source = " ".join(caption.split()).rstrip(" .,")
    if not source:
        source = PERSON
        for category in categories:
            source = apply_phrase(source, category, category.source)
    target = source
    for category in categories:
        target = apply_phrase(target, category, _phrase(category, draw))
    return PromptPair(source, target, negative_prompt(source, categories))


def negative_prompt(source: str, categories: Sequence[Category]) -> str | None:
    """Return what guidance moves away from: the source caption and the categories' `negative` phrases.

    The caption stays in it, so that guidance acts where the prompts differ and leaves the rest.

    Args:
        source: The caption before the edit.
        categories: What is edited together.

    Returns:
        None where no category has such a phrase: then it is the source caption.
    """
    phrases = [category.negative for category in categories if category.negative]
    return ", ".join([source, *phrases]) if phrases else None


def _phrase(category: Category, draw: random.Random | None) -> str:
    if draw is None:
        return category.targets[0]
    if category.weights:
        return draw.choices(category.targets, category.weights)[0]
    return draw.choice(category.targets)


def refuse_conflicts(categories: Sequence[Category]) -> None:
    """Raise `EditError` where two categories cannot stand in one prompt."""
    for position, category in enumerate(categories):
        for other in categories[:position]:
            if category.name == other.name:
                raise EditError(f"edit {category.name!r} is given twice; give it once")
            if category.name in other.conflicts or other.name in category.conflicts:
                raise EditError(f"edits {other.name!r} and {category.name!r} conflict; leave one of them out")


def apply_phrase(caption: str, category: Category, phrase: str) -> str:
    """Put one phrase of a category into a caption; see `compose`."""
    replaced = {text.lower() for text in category.replaces} | {category.source.lower()}
    kept = {text.lower() for text in category.targets} - {phrase.lower()}
    if phrase.lower() in replaced:  # the source phrase itself is being written
        replaced, kept = set(), replaced
    replaced -= kept
    hits = [
        hit
        for hit in _any_of(replaced | kept | {phrase.lower()}).finditer(caption)
        if hit.group().lower() in replaced
    ]
    if hits:
        return _replace(caption, hits, category, phrase)
    # "and glasses" says what "wearing glasses" would.
    said = {re.sub(r"^(?:(?:wearing|with|a|an) )+", "", text) for text in kept | {phrase.lower()}}
    if _any_of(said).search(caption):
        return caption
    return _insert(caption, category, phrase)


def _any_of(phrases: set[str]) -> re.Pattern[str]:
    # Longest first, and leftmost by nature: "not smiling" is found as a whole before "smiling" in it.
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, ordered))})(?![\w-])", re.IGNORECASE)


def _replace(caption: str, hits: list[re.Match[str]], category: Category, phrase: str) -> str:
    first, *rest = hits
    for hit in reversed(rest):  # the same thing said twice: a clause of its own goes, anything else stays
        before, after = caption[: hit.start()], caption[hit.end() :]
        if before.endswith(", ") and (not after or after.startswith(",")):
            caption = before[:-2] + after
    before, after = caption[: first.start()], caption[first.end() :]
    caption = _join(before, phrase, first.group()) + after
    return _with_pronouns(caption, phrase) if category.place == "noun" else caption


def _join(before: str, phrase: str, old: str) -> str:
    """Put a phrase after a text so that the two read as one: no second article or "with", a or an by sound.

    Args:
        before: The text up to what is replaced, with its last space.
        phrase: What is written.
        old: What is replaced; empty where the phrase is only added.
    """
    bare = re.fullmatch(rf"(?:with )?(?:{_DETERMINERS}) (.+)", phrase)
    clause = not before or before.endswith(", ")
    if bare and re.search(rf"\b(?:{_DETERMINERS})(?: \w+)? $", before) and _is_noun(old):
        phrase = bare.group(1)  # "a thick beard" becomes "a thick goatee"
    elif re.match(r"(?:with|without|wearing) ", phrase):
        before = re.sub(r"\b(?:with|wearing) $", "", before)  # "with no beard" becomes "with a beard"
    elif old.startswith("with ") and not clause and _can_follow_with(phrase, old):
        phrase = f"with {phrase}"  # "a girl with black hair" becomes "a girl with blond hair"
    article = re.search(r"\b([Aa])n? $", before)
    if article:
        before = f"{before[: article.start()]}{article.group(1)}{'n' if phrase[0] in 'aeiou' else ''} "
    return before + phrase


def _is_noun(text: str) -> bool:
    openers = {"a", "an", "the", "no", "not", "with", "without", "wearing"}
    return bool(text) and text.split()[0] not in openers


def _can_follow_with(phrase: str, old: str) -> bool:
    return phrase.split()[0] in {"a", "an", "no"} or phrase.split()[-1] == old.split()[-1].lower()


def _with_pronouns(caption: str, noun: str) -> str:
    for old, new in _PRONOUNS.get(noun, {}).items():
        caption = re.sub(rf"\b{old}\b", new, caption)
    return caption


def _insert(caption: str, category: Category, phrase: str) -> str:
    person = re.search(rf"\b(?:{_NOUNS})\b", caption)
    if category.place == "adjective" and person is not None:
        start = person.start()
        return _join(caption[:start], phrase, "") + " " + caption[start:]
    return f"{caption}, {phrase}"
