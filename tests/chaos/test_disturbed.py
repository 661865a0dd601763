"""Work that is disturbed at random moments and then repeated ends as undisturbed work, and leaves nothing.

Two moments each by default, 50 by `make chaos`: `KEYFACE_CHAOS=50 KEYFACE_CHAOS_SEED=3 pytest tests/chaos`.
"""

import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.disturbances import DISTURBANCES, Disturbance, Ended, disk_at, disturb, watch
from chaos.jobs import JOBS, lay
from forks import Fork

MOMENTS = int(os.environ.get("KEYFACE_CHAOS", "2"))
SEED = int(os.environ.get("KEYFACE_CHAOS_SEED", "0"))
TOLD = ("keyface: error:", "keyface: interrupted", "keyface: stopped by")
LEFTOVER = re.compile(r"\.part$|\.state(/|$)|\.tmp$|~$")


def complaint(how: Disturbance, ended: Ended) -> str | None:
    """What a disturbed run should not have said, or should have said; None if all is well."""
    if not how.must_be_told:
        return None
    if "Traceback (most recent call last)" in ended.said:
        return "a traceback"
    if ended.status < 0 and -ended.status != how.number:
        return f"ended by signal {signal.Signals(-ended.status).name}"
    if how.number is not None and ended.status > 0 and ended.status != 128 + how.number:
        return f"status {ended.status}"
    told = [line for line in ended.said.splitlines() if line.startswith(TOLD)]
    if ended.status > 0 and len(told) != 1:
        return f"{len(told)} lines of errors"
    return None


@pytest.mark.usefixtures("failing_disk")
@pytest.mark.parametrize("name", JOBS)
def test_disturbed_and_repeated_is_as_undisturbed(
    name: str, needs: Callable[[str], Path], inside: Callable[[Path], None], tmp_path: Path
) -> None:
    job, draw, wrong, ends = JOBS[name], random.Random(f"{name} {SEED}"), [], Counter()
    source = needs(name)
    with disk_at(tmp_path / "disk") as disk:
        whole = lay(source, disk.folder / "whole")
        inside(whole)
        ended, course = watch(job.words(), disk, {})
        assert ended.status == 0, ended.said[-3000:]
        expected, files = job.results(whole), job.files(whole)
        inside(tmp_path)
        shutil.rmtree(whole)
        ways = draw.sample(DISTURBANCES, len(DISTURBANCES))
        for number in range(MOMENTS):
            how, moment = ways[number % len(ways)], draw.random()
            folder = lay(source, disk.folder / "cut")
            inside(folder)
            first = disturb(how, moment, job.words(), disk, course, {})
            label = f"{name}: {how.name} at {moment:.0%}"
            if (said := complaint(how, first)) is not None:
                wrong.append(f"{label}: {said}:\n{first.said[-1500:]}")
            if first.status:
                again = Fork([*job.words(), *job.again(folder)]).wait(120)
                if again.returncode:
                    wrong.append(
                        f"{label}: repeated, it failed:\n{first.said[-800:]}\n---\n{again.stderr[-1500:]}"
                    )
            if not any(each.startswith(f"{label}: repeated") for each in wrong):
                found = job.results(folder)
                differs = [each for each in {**expected, **found} if expected.get(each) != found.get(each)]
                left = sorted(job.files(folder) ^ files)
                left += [str(path) for path in folder.rglob("*") if LEFTOVER.search(str(path))]
                wrong += [f"{label}: differs: {', '.join(differs)}"] * bool(differs)
                wrong += [f"{label}: files: {', '.join(left)}"] * bool(left)
            ends[how.name, "done before" if not first.status else f"status {first.status}"] += 1
            inside(tmp_path)
            shutil.rmtree(folder)
    print(
        f"\n{name}: {MOMENTS} moments in {course.seconds:.1f} s, {course.writes} writes, {course.reads} reads"
    )
    for (way, end), count in sorted(ends.items()):
        print(f"  {way}: {end}: {count}")
    assert not wrong, f"{len(wrong)} of {MOMENTS}:\n" + "\n".join(wrong)
