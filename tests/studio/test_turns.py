"""Turns on the device: one at a time, and the urgent first."""

import threading
import time

from keyface.studio.turns import Turns


def waits(turns: Turns, count: int) -> None:
    """Wait until so many threads wait for a turn."""
    end = time.monotonic() + 10
    while len(turns._condition._waiters) < count:  # type: ignore[attr-defined]
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_urgent_go_before_the_patient() -> None:
    turns, order = Turns(), []

    def take(kind: str) -> None:
        with getattr(turns, kind)():
            order.append(kind)

    patient, urgent = (threading.Thread(target=take, args=(kind,)) for kind in ("patient", "urgent"))
    with turns.patient():
        patient.start()
        waits(turns, 1)
        assert not turns.wanted
        urgent.start()
        waits(turns, 2)
        assert turns.wanted
    for each in (patient, urgent):
        each.join(10)
    assert order == ["urgent", "patient"]
    assert not turns.wanted


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work(take: str) -> None:
        for _ in range(50):
            with getattr(turns, take)():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0002)
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(each,)) for each in ("urgent", "patient") * 3]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert most == [1]
