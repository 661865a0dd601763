"""Time stamps that increase."""

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise


def increasing(stamps: Sequence[int], usual: int) -> list[int]:
    """Return time stamps that increase: frames of one stamp share the time until the next.

    A stamp before an earlier one counts as equal to it.

    Args:
        stamps: In the order in which frames are shown, in whole units of time.
        usual: How long a frame lasts, where no other comes after it.
    """
    if all(before < after for before, after in pairwise(stamps)):
        return list(stamps)
    groups = [(stamp, len(list(same))) for stamp, same in groupby(accumulate(stamps, max))]
    ends = [stamp for stamp, _ in groups[1:]] + [groups[-1][0] + usual * groups[-1][1]]
    found: list[int] = []
    for (stamp, count), end in zip(groups, ends, strict=True):
        for index in range(count):
            shared = stamp + index * (end - stamp) // count
            found.append(max(shared, found[-1] + 1) if found else shared)
    return found
