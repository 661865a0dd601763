"""Orders: balanced squares, and booklets in which every trial comes once."""

from collections import Counter
from itertools import pairwise

import pytest

from keyface.study.design import booklets, williams_square


def test_williams_own_example_of_four() -> None:
    """Williams (1949), as statistics books print it: each follows each other one exactly once."""
    assert williams_square(4) == [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]


@pytest.mark.parametrize("methods", range(1, 10))
def test_each_at_each_place_and_after_each_other_equally_often(methods: int) -> None:
    square = williams_square(methods)
    rows = methods if methods % 2 == 0 or methods == 1 else 2 * methods
    assert len(square) == rows
    assert all(sorted(row) == list(range(methods)) for row in square)
    for place in range(methods):
        assert Counter(row[place] for row in square) == dict.fromkeys(range(methods), rows // methods)
    follows = Counter(pair for row in square for pair in pairwise(row))
    others = {(first, then) for first in range(methods) for then in range(methods) if first != then}
    assert follows.keys() == others
    assert len(set(follows.values())) <= 1


@pytest.mark.parametrize("methods", [2, 3, 4])
def test_orders_are_balanced_over_raters_at_each_clip(methods: int) -> None:
    clips, checks = 5, 4
    made = booklets(clips, methods, checks, raters=13, seed=3)
    rows = len(williams_square(methods))
    assert len(made) == -(-13 // rows) * rows
    for clip in range(clips):
        own = range(clip * methods, (clip + 1) * methods)
        orders = [[trial for trial in order if trial in own] for order in made]
        for place in range(methods):
            assert len(set(Counter(order[place] for order in orders).values())) == 1
        follows = Counter(pair for order in orders for pair in pairwise(order))
        assert len(follows) == methods * (methods - 1)
        assert len(set(follows.values())) == 1


def test_a_booklet_has_each_trial_once_and_checks_between_the_clips() -> None:
    clips, methods, checks = 8, 3, 4
    made = booklets(clips, methods, checks, raters=60, seed=0)
    for order in made:
        assert sorted(order) == list(range(clips * methods + checks))
        clip_of = [trial // methods if trial < clips * methods else None for trial in order]
        assert clip_of[0] is not None, "no check comes first"
        without = [clip for clip in clip_of if clip is not None]
        assert [*map(len, runs(without))] == [methods] * clips, "a clip's edits follow each other"
        for before, here, after in zip(clip_of, clip_of[1:], clip_of[2:], strict=False):
            assert here is not None or before is None or before != after, "no check parts them"
        halves = [sum(clip is None for clip in half) for half in (clip_of[:14], clip_of[14:])]
        assert min(halves) >= 1, "checks are spread"
    assert len({tuple(order) for order in made}) == len(made), "raters see different orders"


def runs(values: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1].append(value)
        else:
            found.append([value])
    return found


def test_the_seed_decides() -> None:
    assert booklets(4, 3, 2, 12, seed=1) == booklets(4, 3, 2, 12, seed=1)
    assert booklets(4, 3, 2, 12, seed=1) != booklets(4, 3, 2, 12, seed=2)


def test_more_checks_than_clips_and_one_method() -> None:
    for order in booklets(1, 1, 6, 3, seed=0):
        assert order[0] == 0
        assert sorted(order) == list(range(7))
