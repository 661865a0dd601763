"""Progress bars where nobody looks: a pipe or a log."""

import pytest

from keyface.progress import each, stages


def test_a_pipe_gets_one_plain_line_a_stage(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(each([1, 2, 3], "count")) == [1, 2, 3]
    assert list(each(iter([1, 2]), "count", "frame", total=2)) == [1, 2]
    found = capfd.readouterr()
    assert found.out == ""
    assert found.err.splitlines() == ["count: 3 clips, 0 s", "count: 2 frames, 0 s"]


def test_stages_of_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    with stages({"encode": 0.5, "decode": 0.5}) as show:
        for stage in ("encode", "decode"):
            for done in (0, 2, 4):
                show(stage, done, 4)
    assert capfd.readouterr().err.splitlines() == ["encode: 4, 0 s", "decode: 4, 0 s"]
