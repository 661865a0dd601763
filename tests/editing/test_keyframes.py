import math

import pytest

from keyface.editing.keyframes import joint_windows, neighbours, select_keyframes, separate_groups


@pytest.mark.parametrize(("frames", "interval"), [(1, 8), (5, 8), (8, 8), (9, 8), (75, 8), (6, 1)])
def test_one_keyframe_in_every_interval(frames, interval):
    keyframes = select_keyframes(frames, interval, seed=3)
    assert len(keyframes) == math.ceil(frames / interval)
    assert [k // interval for k in keyframes] == list(range(len(keyframes)))
    assert all(0 <= k < frames for k in keyframes)
    assert keyframes == select_keyframes(frames, interval, seed=3)


def test_seeds_differ():
    assert len({select_keyframes(80, 8, seed) for seed in range(5)}) == 5


def test_weights_by_distance():
    found = neighbours(5, [3, 9])
    assert (found.before, found.after, found.weight) == (3, 9, pytest.approx(4 / 6))
    assert neighbours(3, [3, 9]).weight == 1.0
    first, last = neighbours(0, [3, 9]), neighbours(12, [3, 9])
    assert (first.before, first.after, last.before, last.after) == (3, 3, 9, 9)
    assert first.weight == last.weight == 1.0


@pytest.mark.parametrize("count", [1, 3, 10])
def test_few_keyframes_are_one_window(count):
    windows = joint_windows(range(count), window=8, anchors=2)
    assert windows.groups == (tuple(range(count)),)
    assert windows.anchors == 0


def test_many_keyframes_are_windows_with_anchors():
    windows = joint_windows(range(0, 40, 2), window=4, anchors=2)
    assert windows.anchors == 2
    assert windows.groups[0][:2] == (0, 38)
    assert all(len(group) <= 4 for group in windows.groups[1:])
    assert sorted(k for group in windows.groups for k in group) == list(range(0, 40, 2))


def test_windows_without_anchors():
    assert joint_windows(range(5), window=2, anchors=0).groups == ((0, 1), (2, 3), (4,))
    assert separate_groups(range(5), 2).groups == ((0, 1), (2, 3), (4,))
