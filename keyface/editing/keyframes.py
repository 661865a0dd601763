"""Which frames are keyframes, which keyframes attend to each other, and which ones a frame follows."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch


def select_keyframes(frames: int, interval: int, seed: int) -> tuple[int, ...]:
    """One frame of every interval, drawn evenly; the last interval may be short.

    Args:
        frames: length of the clip.
        interval: frames a keyframe stands for.
        seed: equal seeds give equal keyframes.

    Returns:
        ⌈frames / interval⌉ ascending frame numbers.
    """
    if frames < 1:
        raise ValueError("the clip has no frames; nothing to edit")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for start in range(0, frames, interval):
        length = min(interval, frames - start)
        chosen.append(start + int(torch.randint(length, (1,), generator=generator)))
    return tuple(chosen)


@dataclass(frozen=True)
class Neighbours:
    """The two keyframes that a frame follows, and the share of the first.

    Attributes:
        before: frame number of a keyframe.
        after: frame number of another one, or the same.
        weight: w₋ from 0 to 1, the share of `before`; that of `after` is 1 − w₋.
    """

    before: int
    after: int
    weight: float


def neighbours(frame: int, keyframes: Sequence[int]) -> Neighbours:
    """The keyframes that `frame` follows and their weights (Eq. 4): w₋ = d₊ / (d₊ + d₋).

    Args:
        frame: frame number.
        keyframes: ascending frame numbers.

    Returns:
        The last keyframe not after the frame and the first not before it; at the ends of the clip both are
        the one keyframe there is.
    """
    before = keyframes[max(bisect_right(keyframes, frame) - 1, 0)]
    after = keyframes[min(bisect_left(keyframes, frame), len(keyframes) - 1)]
    if before == after:
        return Neighbours(before, after, 1.0)
    to_before, to_after = abs(frame - before), abs(frame - after)
    return Neighbours(before, after, to_after / (to_after + to_before))


@dataclass(frozen=True)
class Windows:
    """Keyframes in the groups that run through ε2 together.

    Attributes:
        groups: disjoint, together all keyframes; the first one begins with the anchors.
        anchors: number of keyframes at the head of the first group whose keys and values every later
            group attends to as well.
    """

    groups: tuple[tuple[int, ...], ...]
    anchors: int


def joint_windows(keyframes: Sequence[int], window: int, anchors: int) -> Windows:
    """Groups of at most `window` neighbouring keyframes, joined by `anchors` spread over the clip.

    Anchors run once, with the first group, and are remembered there by their keys and values: every
    keyframe costs one forward a step, and attention W (W + A) instead of K². With K ≤ W + A there is one
    group of all keyframes, which is full joint attention.
    """
    if len(keyframes) <= window + anchors:
        return Windows((tuple(keyframes),), 0)
    last = len(keyframes) - 1
    positions = {round(i * last / max(anchors - 1, 1)) for i in range(anchors)}
    fixed = tuple(keyframes[p] for p in sorted(positions))
    others = [k for k in keyframes if k not in fixed]
    groups = [tuple(others[i : i + window]) for i in range(0, len(others), window)]
    groups[0] = fixed + groups[0]
    return Windows(tuple(groups), len(fixed))


def separate_groups(keyframes: Sequence[int], size: int) -> Windows:
    """Groups of `size` keyframes that do not attend to each other; the size is only a batch size."""
    return Windows(tuple(tuple(keyframes[i : i + size]) for i in range(0, len(keyframes), size)), 0)
