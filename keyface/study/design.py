"""Who sees what in which order: Williams' balanced Latin squares, attention checks between the clips."""

from collections.abc import Sequence
from random import Random


def williams_square(methods: int) -> list[list[int]]:
    """Return orders of methods in which each comes at each place, and after each other one, equally often.

    E. J. Williams, "Experimental designs balanced for the estimation of residual effects of treatments",
    Australian Journal of Scientific Research A 2 (1949).

    Args:
        methods: How many there are, at least 1.

    Returns:
        `methods` orders of the numbers from 0 on where `methods` is even or 1, else twice as many.

    Example:
        >>> williams_square(4)
        [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]
    """
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(methods)]
    rows = [[(method + shift) % methods for method in first] for shift in range(methods)]
    return rows if methods % 2 == 0 or methods == 1 else [*rows, *(row[::-1] for row in rows)]


def booklets(clips: int, methods: int, checks: int, raters: int, seed: int) -> list[list[int]]:
    """Return the order of the trials for each rater.

    Clips come in random order, each by all methods in a row of the Williams square. A clip's row is the next
    one for the next rater, and clips that stand one after another in the list take different rows: so the
    orders are balanced over raters at each clip, and about so within a rater. Checks come between clips,
    spread over the whole, never first.

    Args:
        clips: How many clips there are.
        methods: How many methods edited each.
        checks: How many attention checks there are.
        raters: About how many raters will come; rounded up to a multiple of the square's rows.
        seed: Of what is random.

    Returns:
        For each rater the trials' numbers: `clip * methods + method`, and `clips * methods + check`.
    """
    square = williams_square(methods)
    common = Random(f"{seed}")
    names = common.sample(range(methods), methods)
    offsets = common.sample(range(clips), clips)
    count = -(-raters // len(square)) * len(square)
    return [
        _booklet(
            [
                [clip * methods + names[place] for place in square[(number + offsets[clip]) % len(square)]]
                for clip in range(clips)
            ],
            [clips * methods + check for check in range(checks)],
            Random(f"{seed}/{number}"),
        )
        for number in range(count)
    ]


def _booklet(blocks: Sequence[Sequence[int]], checks: Sequence[int], random: Random) -> list[int]:
    """Return blocks in random order, and checks in random order after about equally many blocks each."""
    order = random.sample(list(blocks), len(blocks))
    after: list[list[int]] = [[] for _ in order]
    for place, check in enumerate(random.sample(list(checks), len(checks))):
        first, end = (len(order) * each // len(checks) for each in (place, place + 1))
        after[random.randrange(first, max(end, first + 1))].append(check)
    return [trial for block, then in zip(order, after, strict=True) for trial in (*block, *then)]
