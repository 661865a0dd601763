"""Which edit each training image gets, and the prompts of it."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info

from keyface.diffusion.words import unknown_words
from keyface.models.judges import successes
from keyface.plugins import Category, PromptPair, compose, edits
from keyface.plugins.labels import lacking_labels


@dataclass(frozen=True)
class Edit:
    """One image's edit.

    Attributes:
        row: Position of the image in the batch.
        category: What is edited.
        prompts: The image's caption (source) and the caption after the edit (target).
        phrases: The category's own short pair, from no caption at all.
    """

    row: int
    category: Category
    prompts: PromptPair
    phrases: PromptPair


def draw_edits(
    batch: dict[str, Any], categories: Sequence[Category], generator: torch.Generator
) -> list[Edit]:
    """Draw a category and one of its phrases for each image.

    Only among categories that the image's attributes do not already have (`Category.applies_to`) and that
    change its caption. Images with none are left out.

    Args:
        batch: `caption` and `attributes`, see `keyface.datamodules`.
        categories: To choose from.
        generator: On the CPU.
    """
    drawn: list[Edit] = []
    labels = known_labels(batch, categories)
    for row, (caption, attributes) in enumerate(zip(batch["caption"], labels, strict=True)):
        draw, choice = (int(value) for value in torch.randint(2**31, (2,), generator=generator))
        candidates = [
            Edit(row, category, prompts, compose("", [category], choice))
            for category in categories
            if category.applies_to(attributes)
            and (prompts := compose(caption, [category], choice)).source != prompts.target
        ]
        if candidates:
            drawn.append(candidates[draw % len(candidates)])
    return drawn


def known_labels(batch: dict[str, Any], categories: Sequence[Category]) -> list[dict[str, bool]]:
    """Return each image's labels: the data's, and those of categories' own that their judges can tell.

    Args:
        batch: `image` and `attributes`, see `keyface.datamodules`.
        categories: Those with a judge are asked about images whose data lack their label.
    """
    labels = [dict(attributes) for attributes in batch["attributes"]]
    for category in categories:
        unknown = [row for row, known in enumerate(labels) if category.attribute not in known]
        if category.judge is None or not unknown:
            continue
        (seen,) = successes(None, batch["image"][unknown], [category])
        assert seen is not None
        for row, score in zip(unknown, seen.tolist(), strict=True):
            labels[row][category.attribute] = (score >= 0.5) == category.present
    return labels


def choose_categories(names: Sequence[str] | None, tokenizers: Mapping[str, Any]) -> list[Category]:
    """Return the categories to train with, and warn of those that a text encoder cannot be told.

    Args:
        names: Of the categories; None takes all that are installed, but for those of which every phrase has
            an unknown word: which of them are left out is said.
        tokenizers: What reads the prompts, by what to call it.

    Raises:
        EditError: A name is unknown.
        ValueError: Every installed category has unknown words.
    """
    if names is not None:
        chosen = [edits[name] for name in names]
        for category in chosen:
            said = [_unknown(phrase, tokenizers) for phrase in (category.source, *category.targets)]
            if told := "; ".join(dict.fromkeys(filter(None, said))):
                warnings.warn(f"edit {category.name!r}: {told}", stacklevel=2)
        return chosen
    chosen = [each for each in edits if not all(_unknown(phrase, tokenizers) for phrase in each.targets)]
    if left := [each.name for each in edits if each not in chosen]:
        rank_zero_info(f"left out, since a text encoder does not know the words: {', '.join(left)}")
    if not chosen:
        raise ValueError("the text encoder knows the words of no installed edit; name those to train with")
    return chosen


def trainable_on(categories: Sequence[Category], labels: Collection[str], *, named: bool) -> list[Category]:
    """Return the categories that data with these labels can train.

    Args:
        categories: To choose from.
        labels: All labels that the data have.
        named: Whether each of them was asked for; then one that cannot be trained is an error. Otherwise it
            is left out, which is said.

    Raises:
        ValueError: One of the named cannot be trained, or none of all.
    """
    lacking = {each.name: lacking_labels(each, labels) for each in categories}
    told = [f"{name!r} asks for the label {missing}" for name, missing in lacking.items() if missing]
    if told and (named or len(told) == len(categories)):
        raise ValueError(f"the data lack labels: edit {'; edit '.join(told)}")
    if told:
        rank_zero_info(f"not trained, since the data lack their labels: edit {'; edit '.join(told)}")
    return [each for each in categories if not lacking[each.name]]


def _unknown(phrase: str, tokenizers: Mapping[str, Any]) -> str:
    """Say which words of a phrase which text encoder does not know; nothing if all are known."""
    found = {name: unknown_words(phrase, tokenizer) for name, tokenizer in tokenizers.items()}
    return ", ".join(f"{name} does not know {', '.join(words)}" for name, words in found.items() if words)


def take_rows(batch: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Return the given rows of every tensor and list of a batch."""
    if list(rows) == list(range(len(batch["image"]))):
        return batch
    chosen = torch.tensor(rows)
    return {
        # A list as the index would be sent to the device with a wait for it.
        name: value[chosen.to(value.device, non_blocking=True)]
        if isinstance(value, torch.Tensor)
        else [value[row] for row in rows]
        for name, value in batch.items()
    }
