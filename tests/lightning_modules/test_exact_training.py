"""Faults 30 and 31: ε1's training is the same when it is killed and resumed, and on two processes."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from keyface.callbacks.video_edit import VideoEditCallback
from keyface.cli.main import main
from keyface.commands.shards import render
from keyface.datamodules.shard_files.render import RenderSettings, render_shards
from keyface.diffusion.backbone import load_unet
from keyface.editing.settings import EditSettings

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "miniature" / "identity.yaml"
MODULE = "recorded_training"

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


@pytest.fixture
def place(
    tmp_path: Path, folder_backbone: Any, recognizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with a base; configs may name what is in `recorded_training`, here and in other processes."""
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(tmp_path / "base" / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("KEYFACE_TRUST", MODULE)
    # The last bit of a sum depends on the number of threads, here as in the processes that a test starts.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


WHOLE = "{lora: null, ema_decay: 0.9, export: false}"
EXPORTED = "{lora: null, ema_decay: 0.9, export: true}"
ADAPTERS = "{lora: {rank: 4}, ema_decay: 0.9, gradient_checkpointing: true, export: true}"
DROPOUT = "{lora: {rank: 4, dropout: 0.1}, ema_decay: 0.9, gradient_checkpointing: true, export: false}"


CACHED = "--model.init_args.noisy_input={source: cached}"
SHARED_DATA = (
    "--data.init_args.shards=shards",
    "--data.init_args.batch_size=2",
    "--data.init_args.val_fraction=0",
    "--data.init_args.workers=1",
    "--data.init_args.with_latents=true",
)


def sharded(distributed_checkpoint: bool = False, processes: int = 2) -> tuple[str, str]:
    """The options of processes that share the weights."""
    sizes = f"data_parallel_size: {processes}, tensor_parallel_size: 1"
    saved = f"save_distributed_checkpoint: {str(distributed_checkpoint).lower()}"
    strategy = "lightning.pytorch.strategies.ModelParallelStrategy"
    return (
        f"--trainer.devices={processes}",
        f"--trainer.strategy={{class_path: {strategy}, init_args: {{{sizes}, {saved}}}}}",
    )


def fit_words(
    recognizer: Path, notes: str, steps: int, *more: str, dies_at: int = 0, tuning: str = WHOLE
) -> list[str]:
    recorder = f"{{class_path: {MODULE}.Recorder, init_args: {{folder: {notes}, dies_at: {dies_at}}}}}"
    checkpoints = (
        "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {every_n_train_steps: 1, "
        "save_last: true, save_top_k: -1, monitor: step, mode: max}}"
    )
    return [
        *("fit", "-c", str(CONFIG)),
        "--model.init_args.backbone=base",
        f"--model.init_args.identity_network=arcface:{recognizer}",
        "--model.init_args.evaluators=null",
        f"--model.init_args.tuning={tuning}",
        "--trainer.accelerator=cpu",
        f"--trainer.callbacks=[{recorder}, {checkpoints}]",
        f"--trainer.max_steps={steps}",
        "--trainer.limit_val_batches=0",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        *more,
    ]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("keyface")
    return subprocess.run(
        [str(script), *words], capture_output=True, text=True, timeout=900, env=dict(os.environ)
    )


def only_run(experiment: str) -> Path:
    """The folder of an experiment's only run."""
    (folder,) = Path("runs", experiment).iterdir()
    return folder


def last_checkpoint(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def assert_same_end(ours: Path, theirs: Path) -> None:
    """Two runs' last checkpoints hold the same weights, averages and state of the optimizer."""
    mine, other = last_checkpoint(ours), last_checkpoint(theirs)
    for name, value in mine["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    for number, state in mine["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other["optimizer_states"][0]["state"][number][name]), (number, name)


@pytest.mark.parametrize("tuning", [WHOLE, DROPOUT], ids=["whole", "dropout"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    place: Path, recognizer_file: Path, tuning: str
) -> None:
    """Sample ids and losses of every step, to the last bit, across the end of an epoch."""
    from recorded_training import notes

    render(place / "shards", count=12, size=32, samples_per_shard=4)
    data = (
        "--data.init_args.shards=shards",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0",
        "--model.init_args.noisy_input={source: inverted, steps: 3}",
    )
    assert main(fit_words(recognizer_file, "whole", 8, *data, "--experiment=whole", tuning=tuning)) == 0
    whole = notes(place / "whole")
    assert [each["step"] for each in whole] == list(range(1, 9))
    assert len({each["loss"] for each in whole}) == 8

    killed = run(fit_words(recognizer_file, "cut", 8, *data, "--experiment=cut", dies_at=4, tuning=tuning))
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert notes(place / "cut") == whole[:4]

    words = fit_words(
        recognizer_file, "rest", 8, *data, "--experiment=cut", "--ckpt_path=last", tuning=tuning
    )
    assert main(words) == 0
    assert notes(place / "rest") == whole[3:], "step 4 had no checkpoint and is done again"
    assert_same_end(max(Path("runs/cut").iterdir(), key=lambda run: run.stat().st_ctime), only_run("whole"))


def given_together(ranks: list[list[dict[str, Any]]]) -> str:
    """The option that gives one process, batch by batch, the samples that two processes saw."""
    together = [ours["keys"] + theirs["keys"] for ours, theirs in zip(*ranks, strict=True)]
    return f"--data={{class_path: {MODULE}.GivenBatches, init_args: {{shards: shards, keys: {together}}}}}"


def assert_mean_losses(alone: list[dict[str, Any]], ranks: list[list[dict[str, Any]]]) -> None:
    for one, ours, theirs in zip(alone, *ranks, strict=True):
        assert one["loss"] == pytest.approx((ours["loss"] + theirs["loss"]) / 2, rel=1e-4)


def test_two_processes_train_as_one_with_twice_the_batch(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    from recorded_training import notes

    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    cached = "--model.init_args.noisy_input={source: cached}"
    two = run(
        fit_words(
            recognizer_file,
            "two",
            4,
            cached,
            "--data.init_args.shards=shards",
            "--data.init_args.batch_size=2",
            "--data.init_args.val_fraction=0",
            "--data.init_args.workers=2",
            "--data.init_args.resampled=false",
            "--data.init_args.with_latents=true",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        )
    )
    assert two.returncode == 0, two.stderr[-2000:]
    ranks = [notes(place / "two", rank) for rank in (0, 1)]
    seen = [key for rank in ranks for note in rank for key in note["keys"]]
    assert len(seen) == len(set(seen)) == 16, "ranks and workers see samples of their own"

    assert main(fit_words(recognizer_file, "one", 4, cached, given_together(ranks))) == 0
    assert_mean_losses(notes(place / "one"), ranks)
    assert len({note["loss"] for note in ranks[0]}) == 4


@pytest.mark.parametrize("tuning", [EXPORTED, ADAPTERS], ids=["whole", "adapters"])
def test_two_processes_share_the_weights_and_train_as_one_with_twice_the_batch(
    place: Path,
    recognizer_file: Path,
    folder_backbone: Any,
    tuning: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """FSDP2: same losses, checkpoint and export hold the weights whole, and a resumed run is the same."""
    from recorded_training import notes

    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    shared = (CACHED, *SHARED_DATA, *sharded())
    two = run(fit_words(recognizer_file, "two", 3, *shared, "--experiment=two", tuning=tuning))
    assert two.returncode == 0, two.stderr[-2000:]
    ranks = [notes(place / "two", rank) for rank in (0, 1)]

    words = fit_words(
        recognizer_file, "one", 3, CACHED, given_together(ranks), "--experiment=one", tuning=tuning
    )
    assert main(words) == 0
    assert_mean_losses(notes(place / "one"), ranks)
    kept, expected = (last_checkpoint(only_run(name))["state_dict"] for name in ("two", "one"))
    assert list(kept) == list(expected)
    for name, value in kept.items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-3, msg=name)
    ours, theirs = (
        load_unet(only_run(name) / "export", folder_backbone.unet).state_dict() for name in ("two", "one")
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=2e-5, rtol=1e-3, msg=name)

    (first,) = (only_run("two") / "checkpoints").glob("*step=1.ckpt")
    more = ("--experiment=rest", f"--ckpt_path={first}")
    rest = run(fit_words(recognizer_file, "rest", 3, *shared, *more, tuning=tuning))
    assert rest.returncode == 0, rest.stderr[-2000:]
    assert [notes(place / "rest", rank) for rank in (0, 1)] == [rank[1:] for rank in ranks]
    assert_same_end(only_run("rest"), only_run("two"))

    words = fit_words(recognizer_file, "alone", 3, CACHED, given_together(ranks), *more, tuning=tuning)
    assert main(words) == 0, "one process goes on where two were"
    assert_mean_losses(notes(place / "alone"), [rank[1:] for rank in ranks])

    if tuning == ADAPTERS:  # frozen weights, which the optimizer's numbers leave out
        (alone,) = (only_run("one") / "checkpoints").glob("*step=1.ckpt")
        capsys.readouterr()
        words = fit_words(recognizer_file, "unshared", 3, *shared, f"--ckpt_path={alone}", tuning=tuning)
        assert main(words) == 1
        assert "did not share the weights: go on with the strategy" in capsys.readouterr().err
        assert not (place / "unshared").exists()

    unaveraged = tuning.replace("ema_decay: 0.9", "ema_decay: null")
    other = run(fit_words(recognizer_file, "other", 3, *shared, *more, tuning=unaveraged))
    assert other.returncode == 1
    assert "made with other settings of tuning" in other.stderr
    assert "such as ema." in other.stderr


def test_one_process_goes_on_as_two_that_share_the_weights(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    """With its weights, averages and optimizer; that the batches will be others is said."""
    from recorded_training import notes

    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    data = (CACHED, *SHARED_DATA)
    assert main(fit_words(recognizer_file, "one", 1, *data, "--experiment=one")) == 0
    more = ("--experiment=rest", f"--ckpt_path={only_run('one') / 'checkpoints' / 'last.ckpt'}")

    two = run(fit_words(recognizer_file, "two", 3, *data, *sharded(), *more))
    assert two.returncode == 0, two.stderr[-2000:]
    assert "world_size changed since the checkpoint" in two.stderr
    ranks = [notes(place / "two", rank) for rank in (0, 1)]
    assert [note["step"] for note in ranks[0]] == [2, 3]

    before = [{"keys": note["keys"]} for note in notes(place / "one")]
    given = given_together([before + ranks[0], [{"keys": []}, *ranks[1]]])
    assert main(fit_words(recognizer_file, "alone", 3, CACHED, given, *more)) == 0
    assert_mean_losses(notes(place / "alone"), ranks)


def test_a_sharded_run_goes_on_from_the_parts_that_each_process_saved(
    place: Path, recognizer_file: Path, folder_backbone: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In as many processes to the last bit, in one of the kind too; without sharing it is refused."""
    from recorded_training import notes

    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    shared = (CACHED, *SHARED_DATA, *sharded(distributed_checkpoint=True))
    whole = run(fit_words(recognizer_file, "whole", 3, *shared, "--experiment=whole", tuning=EXPORTED))
    assert whole.returncode == 0, whole.stderr[-2000:]
    (first,) = (only_run("whole") / "checkpoints").glob("*step=1.ckpt")
    assert first.is_dir()

    more = ("--experiment=rest", f"--ckpt_path={first}")
    rest = run(fit_words(recognizer_file, "rest", 3, *shared, *more, tuning=EXPORTED))
    assert rest.returncode == 0, rest.stderr[-2000:]
    for rank in (0, 1):
        assert notes(place / "rest", rank) == notes(place / "whole", rank)[1:]
    ours, theirs = (load_unet(only_run(name) / "export").state_dict() for name in ("rest", "whole"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())

    ranks = [notes(place / "whole", rank) for rank in (0, 1)]
    given = (CACHED, given_together(ranks), f"--ckpt_path={first}")
    # Without it Lightning would put a sampler of its own before the given batches.
    single = ("--trainer.use_distributed_sampler=false", *sharded(True, processes=1))
    alone = run(fit_words(recognizer_file, "alone", 3, *given, *single, tuning=EXPORTED))
    assert alone.returncode == 0, alone.stderr[-2000:]
    assert_mean_losses(notes(place / "alone"), [rank[1:] for rank in ranks])

    capsys.readouterr()
    assert main(["export", str(first), "-o", "exported"]) == 1
    assert "a checkpoint in parts" in capsys.readouterr().err
    assert main(fit_words(recognizer_file, "unshared", 3, *given, tuning=EXPORTED)) == 1
    assert "is a folder with the parts of a run whose processes shared the weights" in capsys.readouterr().err
    assert not (place / "unshared").exists()


def test_a_sharded_branch_edits_at_validation_as_its_export_does(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    """With the averaged weights, of which each process holds a part, and training goes on afterwards."""
    from recorded_training import notes

    settings = RenderSettings(count=8, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    edit = {"branch": "identity", "edits": ["glasses"], "frames": 2}
    quick = "{steps: 2, interval: 2}"
    options = ", ".join(f"{name}: {value}" for name, value in edit.items())
    callback = (
        "{class_path: keyface.callbacks.video_edit.VideoEditCallback, init_args: "
        f"{{{options}, settings: {quick}}}}}"
    )
    words = fit_words(recognizer_file, "two", 3, CACHED, *SHARED_DATA, *sharded(), tuning=ADAPTERS)
    two = run(
        [
            *words,
            "--data.init_args.val_fraction=0.5",
            "--trainer.limit_val_batches=1",
            "--trainer.val_check_interval=1",
            f"--trainer.callbacks+={callback}",
            "--experiment=two",
        ]
    )
    assert two.returncode == 0, two.stderr[-2000:]
    assert len(notes(place / "two", 1)) == 3
    with (only_run("two") / "metrics.csv").open() as file:
        edits = [row for row in csv.DictReader(file) if row.get("edit/identity_distance")]
    assert len(edits) == 3
    assert len({row["edit/identity_distance"] for row in edits}) == 3, "the weights as they stand"

    editing = VideoEditCallback(**edit, settings=EditSettings(steps=2, interval=2))
    exported = load_unet(only_run("two") / "export", folder_backbone.unet)
    (result,) = editing._edit_all(SimpleNamespace(backbone=folder_backbone, device="cpu"), exported)
    for name, value in result.measures.items():
        assert float(edits[-1][f"edit/{name}"]) == pytest.approx(value, rel=1e-3, abs=1e-4), name
