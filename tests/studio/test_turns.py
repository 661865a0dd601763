"""Turns on the device: one at a time, and the urgent first."""

import threading
import time

from keyface.studio.turns import Turns


def test_the_urgent_go_before_the_patient() -> None:
    turns, order = Turns(), []
    begun = threading.Event()

    def patient(name: str) -> None:
        with turns.patient():
            order.append(name)
            begun.set()
            while not turns.wanted and name == "first":
                time.sleep(0.001)

    def urgent() -> None:
        with turns.urgent():
            order.append("urgent")

    threads = [threading.Thread(target=patient, args=("first",))]
    threads[0].start()
    assert begun.wait(10)
    threads += [threading.Thread(target=patient, args=("second",)), threading.Thread(target=urgent)]
    for each in threads[1:]:
        each.start()
    for each in threads:
        each.join(10)
    assert order == ["first", "urgent", "second"]
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
