"""Fault 30: a training that SIGKILL ends at random moments gives what one that was never stopped gives.

Two kills by default; `KEYFACE_KILLS=20 KEYFACE_KILL_SEED=1 pytest -s` tries more, at other moments.
"""

import os
import random
import signal
import time
from pathlib import Path

from forks import Fork
from recorded_training import notes
from training_runs import assert_same_end, fit_words, only_run

from keyface.commands.data.shards import render

KILLS = int(os.environ.get("KEYFACE_KILLS", "2"))
SEED = int(os.environ.get("KEYFACE_KILL_SEED", "0"))
STEPS = 10 + 4 * KILLS
TUNING = "{lora: {rank: 4, dropout: 0.1}, ema_decay: 0.9, gradient_checkpointing: true, export: false}"


def words(recognizer: Path, name: str, *more: str) -> list[str]:
    """A training of ε1 with a validation, a data loading worker and a checkpoint after each step."""
    return fit_words(
        recognizer,
        name,
        STEPS,
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0.3",
        "--data.init_args.workers=1",
        "--model.init_args.noisy_input={source: inverted, steps: 2}",
        "--trainer.val_check_interval=3",
        "--trainer.limit_val_batches=1",
        f"--experiment={name}",
        *more,
        tuning=TUNING,
        last="true",
    )


def count(name: str) -> int:
    """How many steps a training has noted, all its runs together."""
    return len(notes(Path(name))) if Path(name, "0.jsonl").exists() else 0


def test_random_kills_change_nothing(place: Path, recognizer_file: Path) -> None:
    """Sample ids and losses of every step, weights, averages and the optimizer's state, to the last bit."""
    render(place / "shards", count=14, size=32, samples_per_shard=4)
    began = time.monotonic()
    whole = Fork(words(recognizer_file, "whole"))
    while not count("whole"):
        time.sleep(0.01)
    first = time.monotonic()
    assert whole.wait(600).returncode == 0
    start_up, step = first - began, (time.monotonic() - first) / STEPS

    expected = {note["step"]: note for note in notes(Path("whole"))}
    assert [*expected] == list(range(1, STEPS + 1))

    draw, kills = random.Random(SEED), 0
    for _ in range(KILLS):
        resumed = ["--ckpt_path=last"] if any(Path("runs/cut").glob("*/checkpoints/last.ckpt")) else []
        before = count("cut")
        fit = Fork(words(recognizer_file, "cut", *resumed))
        if draw.random() < 0.25:  # at any moment of the start
            time.sleep(draw.random() * start_up)
        else:  # within one of its first steps
            enough = before + 1 + int(draw.random() * 3)
            while count("cut") < enough and fit.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.random() * step)
        if fit.poll() == 0:  # on a busy machine it came to its end first
            break
        fit.send_signal(signal.SIGKILL)
        kills += 1
        ended = fit.wait()
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        done = notes(Path("cut"))[before:] if count("cut") else []
        assert all(note == expected[note["step"]] for note in done)
        print(f"kill {kills}: did steps {[note['step'] for note in done]}, equal", flush=True)
    assert kills, "no fit was killed"
    last = Fork(words(recognizer_file, "cut", "--ckpt_path=last")).wait(600)
    assert last.returncode == 0, last.stderr[-2000:]

    done = notes(Path("cut"))
    assert all(note == expected[note["step"]] for note in done)
    assert {note["step"] for note in done} == set(expected)
    assert_same_end(Path("runs/cut/latest"), only_run("whole"))
    print(f"{kills} kills: {len(done)} steps for {STEPS}, losses, samples and weights equal")
