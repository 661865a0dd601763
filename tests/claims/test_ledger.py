"""Who works on what, agreed on by files in a folder."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from keyface.claims.claim import Claim, LeftError, make_once
from keyface.claims.ledger import Ledger
from keyface.claims.process import Process
from keyface.claims.state import MOST_DEATHS

FORK = multiprocessing.get_context("fork")

HOLDER = """
import sys
from pathlib import Path
from keyface.claims.ledger import Ledger
claim = Ledger(Path(sys.argv[1]), ["a"]).claim_now()
print(claim.number, flush=True)
sys.stdin.readline()
"""


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim_now()
    assert claim is not None
    return claim


def hold_elsewhere(folder: Path) -> subprocess.Popen[str]:
    """A process that has claimed clip a."""
    words = [sys.executable, "-P", "-c", HOLDER, str(folder)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip().isdecimal()
    return holder


def on_another_machine(claim: Claim) -> None:
    """Make a claim that of a machine of which this kernel knows nothing."""
    path = claim.file("claim")
    path.write_text(json.dumps({**json.loads(path.read_text()), "kernel": "another", "host": "elsewhere"}))


def work(folder: Path, keys: list[str], notes: Path, start: "multiprocessing.synchronize.Event") -> None:
    """Claim and finish clips until none is left; note each on a line."""
    ledger = Ledger(folder, keys)
    start.wait()
    with notes.open("w") as file:
        while (claim := ledger.claim()) is not None:
            file.write(f"{claim.key}\n")
            assert claim.finish({"pid": os.getpid()}), claim.key


def test_many_processes_claim_each_clip_once(tmp_path: Path) -> None:
    """`KEYFACE_CLAIMS=10000x64` for 10,000 clips and 64 processes."""
    clips, processes = map(int, os.environ.get("KEYFACE_CLAIMS", "1000x8").split("x"))
    keys = [f"{number:05}" for number in range(clips)]
    start = FORK.Event()
    workers = [
        FORK.Process(target=work, args=(tmp_path / "claims", keys, tmp_path / f"{number}.txt", start))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(600)
    assert [worker.exitcode for worker in workers] == [0] * processes
    notes = [(tmp_path / f"{number}.txt").read_text().split() for number in range(processes)]
    assert Counter(key for each in notes for key in each) == Counter(keys), "none twice, none lost"
    assert sum(bool(each) for each in notes) > processes // 4, "and many took part"


def test_a_file_that_comes_after_the_look_is_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_once(tmp_path / "a", lambda: {"by": 1})
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # what was seen a moment earlier
    assert not make_once(tmp_path / "a", lambda: {"by": 2})
    assert json.loads((tmp_path / "a").read_text()) == {"by": 1}


def test_the_order_is_kept_and_what_failed_comes_last(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["c", "a", "b"])
    first = claimed(ledger)
    assert (first.key, first.number) == ("c", 1)
    first.fail("no face")
    ledger = Ledger(tmp_path, ["c", "a", "b"])
    assert [claimed(ledger).key for _ in range(3)] == ["a", "b", "c"]
    assert ledger.claim_now() is None


def test_a_clip_that_fails_twice_is_set_aside_until_it_is_forgiven(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"])
    for line in ("first", "second"):
        assert ledger.states() == {"a": "waiting"}
        claimed(ledger).fail(line)
    assert ledger.states() == {"a": "aside"}
    assert ledger.content("a", 2, "failed") == {"line": "second"}
    assert ledger.claim() is None
    (tmp_path / "a.begun").touch()
    assert ledger.forgive("a")
    assert not ledger.forgive("a"), "it waits already"
    assert not (tmp_path / "a.begun").exists(), "what it has done is not trusted any more"
    again = claimed(ledger)
    assert (again.number, again.taken_over) == (3, False)
    again.fail("third")
    assert ledger.states() == {"a": "waiting"}, "one failure since"


def test_a_killed_process_is_followed_at_once_on_its_own_machine(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"])
    with hold_elsewhere(tmp_path) as holder:
        try:
            assert ledger.states() == {"a": "running"}
            assert ledger.claim_now() is None
            holder.send_signal(signal.SIGSTOP)
            os.utime(tmp_path / "a.1.claim", (0, 0))
            assert ledger.claim_now() is None, "it lives, whatever its heart-beat says"
        finally:
            holder.kill()
        deadline = time.monotonic() + 30
        while (claim := ledger.claim_now()) is None:
            assert time.monotonic() < deadline
        assert (claim.number, claim.taken_over) == (2, True)
        claim.finish({})
    assert ledger.states() == {"a": "done"}


def test_a_process_on_another_machine_is_followed_when_it_gives_no_sign(tmp_path: Path) -> None:
    theirs, ours = Ledger(tmp_path, ["a"], heartbeat=0.05), Ledger(tmp_path, ["a"], patience=1.0)
    claim = claimed(theirs)
    on_another_machine(claim)
    time.sleep(1.2)
    assert ours.claim_now() is None, "its heart-beat is heard"
    claim.release()  # which ends the heart-beat
    (tmp_path / "a.1.released").unlink()
    os.utime(tmp_path / "a.1.claim", (time.time() - 0.5,) * 2)
    assert ours.claim_now() is None, "not long enough"
    os.utime(tmp_path / "a.1.claim", (time.time() - 1.5,) * 2)
    taken = claimed(ours)
    assert (taken.number, taken.taken_over) == (2, True)
    with pytest.raises(LeftError, match="taken over"):
        claim.require()
    taken.require()


def test_a_half_written_claim_is_judged_by_its_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"], patience=60.0)
    (tmp_path / "a.1.claim").write_text('{"host": "x')
    assert ledger.claim_now() is None
    os.utime(tmp_path / "a.1.claim", (time.time() - 61,) * 2)
    assert claimed(ledger).number == 2


def test_who_comes_back_after_all_cannot_end_the_clip_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"], patience=-1.0)
    first = claimed(ledger)
    on_another_machine(first)
    second = claimed(ledger)
    assert first.finish({"by": 1})
    assert not second.finish({"by": 2})
    assert ledger.result("a") == {"by": 1}


def test_a_clip_that_is_done_meanwhile_is_not_claimed(tmp_path: Path) -> None:
    """Its holder, thought dead, marks it between the look and the claim."""
    ledger = Ledger(tmp_path, ["a", "b"], patience=-1.0)
    first = claimed(ledger)
    on_another_machine(first)
    free = ledger._free()
    assert [key for key, _ in free] == ["a", "b"]
    first.finish({})
    assert ledger._try(*free[0]) is None
    assert ledger.states() == {"a": "done", "b": "waiting"}


def test_processes_that_die_at_the_same_place_set_a_clip_aside(tmp_path: Path) -> None:
    place = ["start"]
    ledger = Ledger(tmp_path, ["a"], progress=lambda key: place[0], patience=-1.0)
    for number in range(1, MOST_DEATHS):
        on_another_machine(claimed(ledger))
        assert ledger.histories()["a"].deaths == number - 1
    place[0] = "further"
    on_another_machine(claimed(ledger))
    assert ledger.histories()["a"].deaths == MOST_DEATHS - 2, "the one before had got further"
    for _ in range(2):
        if (claim := ledger.claim_now()) is not None:
            on_another_machine(claim)
    assert ledger.claim() is None
    assert ledger.states() == {"a": "aside"}
    assert ledger.forgive("a")
    assert claimed(ledger).key == "a"


def test_running_and_waiting_clips_are_cancelled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a", "b", "c"])
    running = claimed(ledger)
    running.require()
    assert ledger.take("a") is None
    assert ledger.stop("a")
    assert not ledger.stop("b"), "nobody works on it"
    with pytest.raises(LeftError, match="cancelled"):
        running.require()
    running.cancel()
    waiting = ledger.take("b")
    assert waiting is not None
    waiting.cancel()
    assert ledger.states() == {"a": "cancelled", "b": "cancelled", "c": "waiting"}
    assert claimed(ledger).key == "c"
    (tmp_path / "b.begun").touch()
    assert ledger.forgive("b")
    assert (tmp_path / "b.begun").exists(), "what it has done is good"
    assert ledger.states()["b"] == "waiting"


def test_a_clip_whose_process_died_before_it_heard_of_the_cancel_is_cancelled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"], patience=-1.0)
    on_another_machine(claimed(ledger))
    ledger.stop("a")
    assert ledger.claim() is None
    assert ledger.states() == {"a": "cancelled"}


def test_who_finds_nothing_waits_for_the_others_and_stops_when_asked(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["a"])
    claim = claimed(ledger)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert Ledger(tmp_path, ["a"]).claim(stop.is_set) is None
    assert stop.is_set(), "it waited"
    threading.Timer(0.3, lambda: claim.finish({})).start()
    assert Ledger(tmp_path, ["a"]).claim() is None
    assert ledger.states() == {"a": "done"}


def test_a_number_that_is_used_again_is_another_process() -> None:
    here = Process.current()
    assert here.is_here()
    assert not here.is_gone()
    assert Process(here.host, here.pid, here.kernel, "1").is_gone()
    assert not Process(here.host, 2**22 + 1, "another kernel", "1").is_gone(), "nobody knows"
    assert Process.read(here.facts()) == here
    assert Process.read({"host": "x"}) is None
