"""Whether data have the labels that an edit category asks for."""

from collections.abc import Collection

from keyface.celeba import ATTRIBUTES
from keyface.configuration import did_you_mean
from keyface.plugins.category import Category


def lacking_labels(category: Category, labels: Collection[str]) -> str:
    """Say which labels data lack without which a category never trains on them, or nothing.

    A category's judge stands in for the label of `attribute`. Labels of CelebA and keyface in `hidden_by` are
    taken as false where data lack them; a label of the category's own that is nowhere is a wrong name.

    Args:
        category: Of which training is asked.
        labels: All labels that the data have.
    """
    asked = [*category.needs, *(name for name in category.hidden_by if name not in ATTRIBUTES)]
    if category.judge is None:
        asked.insert(0, category.attribute)
    missing = [name for name in dict.fromkeys(asked) if name not in labels]
    return ", ".join(f"{name!r}{did_you_mean(name, tuple(sorted(labels)))}" for name in missing)
