"""Progress bars: where nobody looks, a pipe or a log, and on a terminal."""

import logging
import os
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from keyface.progress import each, stages, warnings_only


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


def test_a_logger_is_held_back_inside_only(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("held_back.child")
    logging.getLogger("held_back").setLevel(logging.INFO)
    with warnings_only("held_back"):
        logger.info("unheard")
        logger.warning("heard")
    logger.info("heard again")
    assert caplog.messages == ["heard", "heard again"]


def drawn(code: str) -> str:
    """Run code whose stderr is a terminal, and return what the terminal gets."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen([sys.executable, "-P", "-c", code], stderr=theirs, stdout=subprocess.PIPE) as child:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux says so when the other side of a terminal is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
        os.close(ours)
        assert child.stdout is not None
        assert child.stdout.read() == b"", "stdout is for results"
    assert child.returncode == 0, shown.decode()
    return shown.decode()


def test_a_terminal_gets_a_bar_that_vanishes() -> None:
    shown = drawn(
        "import time\nfrom keyface.progress import Bar\nbar = Bar('fit', 4, 'step', done=1)\n"
        "for done in (2, 3, 4):\n    time.sleep(0.15)\n    bar.advance_to(done, lambda: f'loss {done}')\n"
        "bar.log('val/loss 0.5')\nbar.close()\n"
    )
    assert "1/4" in shown, "what was done before counts"
    assert "4/4" in shown
    assert "loss 3" in shown
    assert "fit: step 4 of 4, 0 s: val/loss 0.5\r\n" in shown, "a line of its own above the bar"
    assert "fit: 4 steps" not in shown, "the line for pipes"
    last = shown.rpartition("\n")[2]
    assert last.replace("\r", "").replace("\x1b[A", "").strip() == "" or last.endswith("\r"), "no bar remains"


def test_a_terminal_gets_one_bar_over_all_stages() -> None:
    shown = drawn(
        "import time\nfrom keyface.progress import stages\nwith stages({'encode': 1, 'decode': 3}) as show:\n"
        "    for stage in ('encode', 'decode'):\n        for done in (0, 2, 4):\n"
        "            time.sleep(0.15)\n            show(stage, done, 4)\n"
    )
    assert "encode:  12%" in shown, "half of a stage that has a quarter of the time"
    assert "decode:  62%" in shown
    assert "remain" in shown
    assert "decode: 4, " not in shown, "the line for pipes"
