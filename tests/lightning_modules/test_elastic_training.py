"""A run that goes on with other numbers of processes or workers sees each sample that is left once."""

from pathlib import Path

import pytest
from recorded_training import notes
from training_runs import TRIED_AGAIN, colour_words, run

from keyface.commands.data.shards import render

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = [
    TRIED_AGAIN,
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]

SAMPLES = 24


def fit(name: str, steps: int, processes: int, workers: int, *more: str) -> list[str]:
    """Train, each process with batches of 2; return the keys that all processes saw, step by step."""
    words = colour_words(
        name,
        steps,
        f"--data.init_args.workers={workers}",
        f"--trainer.devices={processes}",
        *(["--trainer.strategy=ddp"] if processes > 1 else []),
        *more,
        last="true",
    )
    ended = run(words, processes)
    assert ended.returncode == 0, ended.stderr[-2000:]
    ranks = [notes(Path(name), rank) for rank in range(processes)]
    return [key for step in zip(*ranks, strict=True) for note in step for key in note["keys"]]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_the_rest_of_a_pass_is_seen_once(place: Path, before: int, after: int) -> None:
    render(place / "shards", count=SAMPLES, size=32, samples_per_shard=5)
    first = 2
    seen = fit("before", first, before, 1, "--experiment=run")
    assert len(seen) == first * 2 * before
    last = first + (SAMPLES - len(seen)) // (2 * after)
    rest = fit("after", last, after, 2, "--experiment=run", "--ckpt_path=last")
    assert sorted(seen + rest) == [f"{number:08d}" for number in range(SAMPLES)]


def test_other_numbers_of_workers_change_nothing(place: Path) -> None:
    """Losses and samples are, to the last bit, those of a run that was never stopped."""
    render(place / "shards", count=SAMPLES, size=32, samples_per_shard=5)
    fit("whole", 15, 1, 0, "--experiment=whole")
    fit("first", 7, 1, 1, "--experiment=run")
    fit("rest", 15, 1, 3, "--experiment=run", "--ckpt_path=last")
    assert notes(Path("first")) + notes(Path("rest")) == notes(Path("whole"))
