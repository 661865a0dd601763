"""The order of training samples: which one stands at a position."""

from itertools import islice

import numpy as np

from keyface.datamodules.shard_files.order import LANES, Order


def order_of(*sizes: int, seed: int = 3, buffer: int = 1) -> Order:
    """Shards of these sizes, whose samples are the rows 100, 101, …"""
    shards = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return Order(100 + np.arange(len(shards)), shards, seed, buffer)


def rows_of(order: Order, number: int = 0) -> list[int]:
    """The rows of one pass."""
    first = number * len(order)
    return [draw.row for draw in order.draws(range(first, first + len(order)))]


def test_each_pass_has_each_sample_once_in_an_order_of_its_own() -> None:
    order = order_of(3, 5, 4, buffer=30)
    passes = [rows_of(order, number) for number in range(4)]
    assert all(sorted(rows) == list(range(100, 112)) for rows in passes)
    assert len({tuple(rows) for rows in passes}) == 4
    assert rows_of(order_of(3, 5, 4, buffer=30)) == passes[0]
    assert rows_of(order_of(3, 5, 4, buffer=30, seed=4)) != passes[0]


def test_an_order_is_the_same_in_every_version() -> None:
    """A run that was begun with one goes on with another: the numbers must never change."""
    assert rows_of(order_of(2, 3, 1, buffer=2)) == [105, 100, 102, 101, 103, 104]
    assert rows_of(order_of(2, 3, 1, buffer=2), 1) == [102, 100, 105, 103, 101, 104]


def test_draws_know_their_pass() -> None:
    order = order_of(2, 2)
    drawn = order.draws([1, 4, 9])
    assert [draw.seed for draw in drawn] == ["3:0", "3:1", "3:2"]
    assert [draw.row for draw in drawn] == [rows_of(order)[1], rows_of(order, 1)[0], rows_of(order, 2)[1]]


def test_as_many_shards_as_lanes_are_read_side_by_side() -> None:
    order = order_of(*[4] * 11)
    shard_at = [(row - 100) // 4 for row in rows_of(order)]
    turns = [shard_at[i : i + LANES] for i in range(0, 32, LANES)]
    assert all(len(set(turn)) == LANES == 8 for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 1, "a lane reads one shard after the other"
    assert all(shard_at[32:].count(shard) == 4 for shard in set(shard_at[32:]))


def test_shards_go_to_the_shortest_lane() -> None:
    """Of nine shards the largest has ten samples and the others one: the second of a lane is beside it."""
    order = order_of(10, *[1] * 8)
    rows = rows_of(order)
    assert [row for row in rows if row < 110] == list(range(100, 110))
    assert rows[-8:] == list(range(102, 110)), "from the third turn on the long lane is alone"


def test_samples_move_within_the_buffer() -> None:
    places = [row - 100 for row in rows_of(order_of(200, buffer=10))]
    moves = [abs(place - i) for i, place in enumerate(places)]
    assert 5 < max(moves) <= 10
    both = rows_of(order_of(100, 100, buffer=10))
    for lane in (both[::2], both[1::2]):
        places = [(row - 100) % 100 for row in lane]
        assert 1 < max(abs(place - i) for i, place in enumerate(places)) <= 5
    assert rows_of(order_of(200)) == list(range(100, 300))
    rounded_down = rows_of(order_of(100, 100, buffer=3))
    assert all(lane == sorted(lane) for lane in (rounded_down[::2], rounded_down[1::2]))


def test_processes_take_turns() -> None:
    order = order_of(50)
    for rank, expected in ((0, [[4, 6, 8], [10, 12, 14]]), (1, [[5, 7, 9], [11, 13, 15]])):
        batches = islice(order.batches(4, 3, rank, 2), 2)
        assert [[draw.row - 100 for draw in batch] for batch in batches] == expected
    (alone,) = islice(order.batches(2, 3), 1)
    assert [draw.row - 100 for draw in alone] == [2, 3, 4]


def test_no_more_than_two_passes_are_kept() -> None:
    order = order_of(2, 2)
    for number in range(5):
        rows_of(order, number)
    assert set(order._passes) == {3, 4}
