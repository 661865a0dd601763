"""The progress bar of an evaluation."""

import pytest

from keyface.evaluation.progress import bar


def test_nothing_is_drawn_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(bar([1, 2, 3], "count")) == [1, 2, 3]
    assert list(bar(iter([1, 2]), "count", 2)) == [1, 2]
    found = capfd.readouterr()
    assert (found.out, found.err) == ("", "")
