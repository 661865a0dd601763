"""Who in a video is edited, and how: the words of `--edits` and `--person`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyface.plugins import Category, edits
from keyface.plugins.compose import refuse_conflicts

EVERYONE = ("largest", "longest", "all")
"""Words that choose people, beside their numbers and photos."""

Names = str | Sequence[str | Category]


@dataclass(frozen=True)
class Casting:
    """Give each chosen person the categories of their edit.

    Attributes:
        roles: Choice of a person, such as "1" or "largest" → categories; a prompt has none.
        named: Whether the people were named one by one, each with their own categories.
    """

    roles: Mapping[str, tuple[Category, ...]]
    named: bool

    @classmethod
    def of(cls, given: Names | Mapping[Any, Names], person: str | None) -> Casting:
        """Read what a user gave.

        Args:
            given: Categories for whoever is chosen; or by person, as a mapping or as "1: glasses; 2: beard".
            person: Who is chosen; None is the first.

        Raises:
            ValueError: The text is something else, categories conflict, or people are named twice over.
            KeyError: There is no such category.
        """
        if isinstance(given, str) and ":" in given:
            given = by_person(given)
        if not isinstance(given, Mapping):
            return cls({person or "1": _categories(given)}, named=False)
        if person is not None:
            raise ValueError(f"--edits names people one by one, and so does --person {person}; leave one out")
        roles = {str(who).strip(): _categories(names) for who, names in given.items()}
        for who, categories in roles.items():
            if not who.isdecimal() or int(who) < 1:
                raise ValueError(f'--edits: {who!r} is no number of a person; write "1: glasses; 2: beard"')
            if not categories:
                raise ValueError(f"--edits: nothing is to be edited in person {who}")
        return cls(roles, named=True)

    @property
    def photos(self) -> list[str]:
        """Return those choices that are paths of photos."""
        return [who for who in self.roles if who not in EVERYONE and not who.isdecimal()]

    @property
    def categories(self) -> list[Category]:
        """Return all categories, each once."""
        return list(dict.fromkeys(category for role in self.roles.values() for category in role))


def by_person(text: str) -> dict[str, str]:
    """Read "1: glasses; 2: beard" as categories by person.

    Raises:
        ValueError: The text is something else.
    """
    roles: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        who, colon, names = part.partition(":")
        if not colon or who.strip() in roles:
            raise ValueError(f'--edits {text!r}: write "1: glasses; 2: beard", each person once')
        roles[who.strip()] = names
    return roles


def _categories(given: Names) -> tuple[Category, ...]:
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    chosen = [edits[each] if isinstance(each, str) else each for each in given]
    refuse_conflicts(chosen)
    return tuple(chosen)
