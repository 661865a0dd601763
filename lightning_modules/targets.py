"""Which edit each training image gets, and the prompts of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from keyface.plugins import Category, PromptPair, compose


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
    edits: list[Edit] = []
    for row, (caption, attributes) in enumerate(zip(batch["caption"], batch["attributes"], strict=True)):
        draw, choice = (int(value) for value in torch.randint(2**31, (2,), generator=generator))
        candidates = [
            Edit(row, category, prompts, compose("", [category], choice))
            for category in categories
            if category.applies_to(attributes)
            and (prompts := compose(caption, [category], choice)).source != prompts.target
        ]
        if candidates:
            edits.append(candidates[draw % len(candidates)])
    return edits


def take_rows(batch: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Return the given rows of every tensor and list of a batch."""
    return {
        name: value[list(rows)] if isinstance(value, torch.Tensor) else [value[row] for row in rows]
        for name, value in batch.items()
    }
