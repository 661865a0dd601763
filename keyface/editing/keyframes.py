"""Which frames are keyframes, which attend to each other, which ones a frame follows, in which order."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch


def select_keyframes(frames: int, interval: int, seed: int) -> tuple[int, ...]:
    """Draw one frame of every interval, evenly; the last interval may be short.

    Args:
        frames: Length of the clip.
        interval: Frames a keyframe stands for.
        seed: Equal seeds give equal keyframes.

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
        before: Frame number of a keyframe.
        after: Frame number of another one, or the same.
        weight: w₋, from 0 to 1, the share of `before`; that of `after` is 1 − w₋.
    """

    before: int
    after: int
    weight: float


def neighbours(frame: int, keyframes: Sequence[int]) -> Neighbours:
    """Return the keyframes that `frame` follows and their weights (Eq. 4): w₋ = d₊ / (d₊ + d₋).

    Args:
        frame: Frame number.
        keyframes: Ascending frame numbers.

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
        groups: Disjoint, together all keyframes; the first one begins with the anchors.
        anchors: Number of keyframes at the head of the first group whose keys and values every later
            group attends to as well.
    """

    groups: tuple[tuple[int, ...], ...]
    anchors: int


def joint_windows(keyframes: Sequence[int], window: int, anchors: int) -> Windows:
    """Return groups of at most `window` neighbouring keyframes, joined by anchors spread over the clip.

    Anchors run once, with the first group, and are remembered there by their keys and values: every
    keyframe costs one forward a step, and attention W (W + A) instead of K². With K ≤ W + A there is one
    group of all keyframes, which is full joint attention.
    """
    if len(keyframes) <= window + anchors:
        return Windows((tuple(keyframes),), 0)
    last = len(keyframes) - 1
    positions = {round(i * last / max(anchors - 1, 1)) for i in range(anchors)}
    return _anchored(keyframes, [keyframes[p] for p in sorted(positions)], window, alone=False)


def _anchored(keyframes: Sequence[int], fixed: Sequence[int], window: int, *, alone: bool) -> Windows:
    others = [k for k in keyframes if k not in fixed]
    groups = [tuple(others[i : i + window]) for i in range(0, len(others), window)]
    groups = [tuple(fixed), *groups] if alone else [(*fixed, *groups[0]), *groups[1:]]
    return Windows(tuple(groups), len(fixed))


@dataclass(frozen=True)
class KeyframeChoice:
    """Keyframes of a part of a clip, as the whole clip has them.

    Attributes:
        keyframes: Ascending frame numbers.
        anchors: Those among them that every window attends to; none without joint attention.
        alone: Whether the anchors run without the first window, which is in another part.
    """

    keyframes: tuple[int, ...]
    anchors: tuple[int, ...]
    alone: bool

    def windows(self, window: int) -> Windows:
        """Return the groups that run through ε2 together, as of `joint_windows`."""
        return _anchored(self.keyframes, self.anchors, window, alone=self.alone)


def separate_groups(keyframes: Sequence[int], size: int) -> Windows:
    """Return groups of `size` keyframes that do not attend to each other; the size is only a batch size."""
    return Windows(tuple(tuple(keyframes[i : i + size]) for i in range(0, len(keyframes), size)), 0)


@dataclass(frozen=True)
class StepOrder:
    """Order of work within one step, so that only the tokens of neighbouring keyframes are in memory.

    Attributes:
        windows: Keyframes in groups.
        follows: Keyframes that each other frame follows.
        ready: By group, the frames whose keyframes are all done after it.
        last_use: By keyframe, the last group after which a frame needs it.
    """

    windows: Windows
    follows: dict[int, Neighbours]
    ready: tuple[tuple[int, ...], ...]
    last_use: dict[int, int]

    @classmethod
    def of(cls, windows: Windows, others: Sequence[int]) -> "StepOrder":
        """Return the order for keyframes in these groups and for the frames between them.

        Args:
            windows: All keyframes of the clip.
            others: All other frames.
        """
        group_of = {keyframe: g for g, group in enumerate(windows.groups) for keyframe in group}
        keyframes = sorted(group_of)
        follows = {f: neighbours(f, keyframes) for f in others}
        ready: list[list[int]] = [[] for _ in windows.groups]
        last_use: dict[int, int] = {}
        for frame, pair in follows.items():
            done = max(group_of[pair.before], group_of[pair.after])
            ready[done].append(frame)
            for keyframe in (pair.before, pair.after):
                last_use[keyframe] = max(last_use.get(keyframe, 0), done)
        return cls(windows, follows, tuple(tuple(frames) for frames in ready), last_use)
