import pytest

from keyface.commands.console import mean, table


def test_the_table_aligns_numbers_to_the_right() -> None:
    lines = table(
        [{"variant": "full", "n": 20, "mrr": 0.5}, {"variant": "x", "n": 5, "mrr": 0.01234}]
    ).splitlines()
    assert lines[0] == "variant   n     mrr"
    assert lines[2] == "full     20   0.500"
    assert lines[3] == "x         5  0.0123"


def test_what_was_not_measured_is_a_dash() -> None:
    lines = table([{"variant": "full", "gain": 0.5}, {"variant": "x", "gain": None}]).splitlines()
    assert lines[3] == "x            -"


def test_a_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        mean([])
