"""Fault 30: ε1's training is the same when it is killed and resumed, and on two processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_training import notes
from training_runs import (
    CACHED,
    WHOLE,
    assert_mean_losses,
    assert_same_end,
    fit_words,
    given_together,
    only_run,
    run,
)

from keyface.cli.main import main
from keyface.commands.data.shards import render
from keyface.datamodules.shard_files.render import RenderSettings, render_shards

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


DROPOUT = "{lora: {rank: 4, dropout: 0.1}, ema_decay: 0.9, gradient_checkpointing: true, export: false}"


@pytest.mark.parametrize("tuning", [WHOLE, DROPOUT], ids=["whole", "dropout"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    place: Path, recognizer_file: Path, tuning: str
) -> None:
    """Sample ids and losses of every step, to the last bit, across the end of an epoch."""
    kept = {"tuning": tuning, "last": "true"}
    render(place / "shards", count=12, size=32, samples_per_shard=4)
    data = (
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
        "--model.init_args.noisy_input={source: inverted, steps: 3}",
    )
    assert main(fit_words(recognizer_file, "whole", 8, *data, "--experiment=whole", **kept)) == 0
    whole = notes(place / "whole")
    assert [each["step"] for each in whole] == list(range(1, 9))
    assert len({each["loss"] for each in whole}) == 8

    killed = run(fit_words(recognizer_file, "cut", 8, *data, "--experiment=cut", dies_at=4, **kept))
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert notes(place / "cut") == whole[:4]

    words = fit_words(recognizer_file, "rest", 8, *data, "--experiment=cut", "--ckpt_path=last", **kept)
    assert main(words) == 0
    assert notes(place / "rest") == whole[3:], "step 4 had no checkpoint and is done again"
    assert_same_end(Path("runs/cut/latest"), only_run("whole"))


def launch(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the console script, of which Lightning itself starts as many more as there are devices."""
    script = Path(sys.executable).with_name("keyface")
    return subprocess.run(
        [str(script), *words], capture_output=True, text=True, timeout=900, env=dict(os.environ)
    )


def test_two_processes_train_as_one_with_twice_the_batch(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    two = launch(
        fit_words(
            recognizer_file,
            "two",
            4,
            CACHED,
            "--data.init_args.shards=shards",
            "--data.init_args.batch_size=2",
            "--data.init_args.val_fraction=0",
            "--data.init_args.workers=2",
            "--data.init_args.with_latents=true",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        )
    )
    assert two.returncode == 0, two.stderr[-2000:]
    ranks = [notes(place / "two", rank) for rank in (0, 1)]
    seen = [key for rank in ranks for note in rank for key in note["keys"]]
    assert len(seen) == len(set(seen)) == 16, "ranks and workers see samples of their own"

    assert main(fit_words(recognizer_file, "one", 4, CACHED, given_together(ranks))) == 0
    assert_mean_losses(notes(place / "one"), ranks)
    assert len({note["loss"] for note in ranks[0]}) == 4
