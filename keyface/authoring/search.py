"""A small search for the amounts that suit a category: a guess to begin with, from a few faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keyface.authoring.faces import Measured
from keyface.plugins import Category

STEPS: Mapping[str, tuple[float, ...]] = {
    "strength": (0.8, 1.0, 1.2),
    "guidance": (0.7, 1.0, 1.4),
    "injection": (1.0, 0.6, 0.3),
}
"""What is tried of each amount, one after the other; what the category asks for already is tried, too."""


@dataclass(frozen=True)
class Attempt:
    """One choice of amounts, and what it is worth."""

    amounts: Mapping[str, float]
    measured: Measured


def attempts(category: Category, measure: Callable[[Category], Measured]) -> Iterator[Attempt]:
    """Yield every attempt of a coordinate search: the best of one amount is kept while the next is tried.

    The first attempt is the category as it is, without `defaults`. The best is that with the highest score,
    and of equal ones the first.

    Args:
        category: For one family of models (`Category.for_family`).
        measure: Edits some faces with a category and says what that is worth.
    """

    def attempt(amounts: Mapping[str, float]) -> Attempt:
        asked: dict[str, Any] = dict(amounts)
        return Attempt(dict(amounts), measure(replace(category, **asked)))

    best = attempt({name: getattr(category, name) for name in STEPS})
    yield best
    for name, values in STEPS.items():
        begun = best.amounts[name]  # measured already
        for value in values:
            if value == begun:
                continue
            tried = attempt({**best.amounts, name: value})
            yield tried
            if tried.measured.score > best.measured.score:
                best = tried


def lines_to_paste(amounts: Mapping[str, float], family: str | None) -> tuple[str, str]:
    """Return amounts as Python and as YAML: of one family of models where it is known.

    Example:
        >>> lines_to_paste({"strength": 1.2}, "sd2")
        ('defaults={"sd2": {"strength": 1.2}},', 'defaults: {sd2: {strength: 1.2}}')
    """
    rounded = {name: round(value, 3) for name, value in amounts.items()}
    if family is None:
        return (
            " ".join(f"{name}={value:g}," for name, value in rounded.items()),
            ", ".join(f"{name}: {value:g}" for name, value in rounded.items()),
        )
    python = ", ".join(f'"{name}": {value:g}' for name, value in rounded.items())
    yaml = ", ".join(f"{name}: {value:g}" for name, value in rounded.items())
    return f'defaults={{"{family}": {{{python}}}}},', f"defaults: {{{family}: {{{yaml}}}}}"
