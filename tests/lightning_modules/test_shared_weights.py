"""Fault 30 where processes share the weights: training, checkpoints, export and the edit at validation."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from recorded_training import notes
from training_runs import (
    CACHED,
    TRIED_AGAIN,
    assert_mean_losses,
    assert_same_end,
    fit_words,
    given_together,
    last_checkpoint,
    only_run,
    run,
)

from keyface.callbacks.video_edit import VideoEditCallback
from keyface.cli.main import main
from keyface.datamodules.shard_files.render import RenderSettings, render_shards
from keyface.diffusion.backbone import Backbone, load_unet

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = [
    TRIED_AGAIN,
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


EXPORTED = "{lora: null, ema_decay: 0.9, export: true}"
ADAPTERS = "{lora: {rank: 4}, ema_decay: 0.9, gradient_checkpointing: true, export: true}"

SHARED_DATA = (
    "--data.init_args.shards=shards",
    "--data.init_args.batch_size=2",
    "--data.init_args.val_fraction=0",
    "--data.init_args.workers=1",
    "--data.init_args.with_latents=true",
)


@pytest.fixture
def folder_backbone(folder_backbone: Backbone) -> Backbone:
    """With a U-Net of one resolution: a sharded run's time goes by the number of its layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=8,
            norm_num_groups=4,
        )
    return replace(folder_backbone, unet=unet.eval().requires_grad_(False))


def sharded(distributed_checkpoint: bool = False, processes: int = 2) -> tuple[str, str]:
    """The options of processes that share the weights."""
    sizes = f"data_parallel_size: {processes}, tensor_parallel_size: 1"
    saved = f"save_distributed_checkpoint: {str(distributed_checkpoint).lower()}"
    strategy = "lightning.pytorch.strategies.ModelParallelStrategy"
    return (
        f"--trainer.devices={processes}",
        f"--trainer.strategy={{class_path: {strategy}, init_args: {{{sizes}, {saved}}}}}",
    )


@pytest.mark.parametrize("tuning", [EXPORTED, ADAPTERS], ids=["whole", "adapters"])
def test_two_processes_share_the_weights_and_train_as_one_with_twice_the_batch(
    place: Path,
    recognizer_file: Path,
    folder_backbone: Any,
    tuning: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """FSDP2: same losses, checkpoint and export hold the weights whole, and a resumed run is the same."""
    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    shared = (CACHED, *SHARED_DATA, *sharded())
    two = run(fit_words(recognizer_file, "two", 3, *shared, "--experiment=two", tuning=tuning), processes=2)
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
    rest = run(fit_words(recognizer_file, "rest", 3, *shared, *more, tuning=tuning), processes=2)
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
    other = run(fit_words(recognizer_file, "other", 3, *shared, *more, tuning=unaveraged), processes=2)
    assert other.returncode == 1
    assert "made with other settings of tuning" in other.stderr
    assert "such as ema." in other.stderr


def test_one_process_goes_on_as_two_that_share_the_weights(
    place: Path, recognizer_file: Path, folder_backbone: Any
) -> None:
    """With its weights, averages and optimizer, and the samples that are left of the pass."""
    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    data = (CACHED, *SHARED_DATA)
    assert main(fit_words(recognizer_file, "one", 1, *data, "--experiment=one")) == 0
    more = ("--experiment=rest", f"--ckpt_path={only_run('one') / 'checkpoints' / 'last.ckpt'}")

    two = run(fit_words(recognizer_file, "two", 3, *data, *sharded(), *more), processes=2)
    assert two.returncode == 0, two.stderr[-2000:]
    assert "training goes on with the samples that are left of this pass" in two.stderr
    ranks = [notes(place / "two", rank) for rank in (0, 1)]
    assert [note["step"] for note in ranks[0]] == [2, 3]
    seen = [key for part in (notes(place / "one"), *ranks) for note in part for key in note["keys"]]
    assert len(set(seen)) == len(seen) == 10

    before = [{"keys": note["keys"]} for note in notes(place / "one")]
    given = given_together([before + ranks[0], [{"keys": []}, *ranks[1]]])
    assert main(fit_words(recognizer_file, "alone", 3, CACHED, given, *more)) == 0
    assert_mean_losses(notes(place / "alone"), ranks)


def test_a_sharded_run_goes_on_from_the_parts_that_each_process_saved(
    place: Path, recognizer_file: Path, folder_backbone: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In as many processes to the last bit, in one of the kind too; without sharing it is refused."""
    settings = RenderSettings(count=16, size=32, samples_per_shard=4, latents=4)
    render_shards(place / "shards", settings, lambda: folder_backbone)
    shared = (CACHED, *SHARED_DATA, *sharded(distributed_checkpoint=True))
    whole = run(
        fit_words(recognizer_file, "whole", 3, *shared, "--experiment=whole", tuning=EXPORTED), processes=2
    )
    assert whole.returncode == 0, whole.stderr[-2000:]
    (first,) = (only_run("whole") / "checkpoints").glob("*step=1.ckpt")
    assert first.is_dir()

    more = ("--experiment=rest", f"--ckpt_path={first}")
    rest = run(fit_words(recognizer_file, "rest", 3, *shared, *more, tuning=EXPORTED), processes=2)
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
        ],
        processes=2,
    )
    assert two.returncode == 0, two.stderr[-2000:]
    assert len(notes(place / "two", 1)) == 3
    with (only_run("two") / "metrics.csv").open() as file:
        edits = [row for row in csv.DictReader(file) if row.get("edit/identity_distance")]
    assert [row["step"] for row in edits] == ["0", "1", "2", "3"]
    assert len({row["edit/identity_distance"] for row in edits}) == 4, "the weights as they stand"

    # As in the config: values, which go beside what the category asks for, not whole settings in its place.
    editing = VideoEditCallback(**edit, settings={"steps": 2, "interval": 2})
    editing._networks = editing._find_networks()
    exported = load_unet(only_run("two") / "export", folder_backbone.unet)
    module = SimpleNamespace(backbone=folder_backbone, device="cpu")
    (result,) = editing._edit_all(SimpleNamespace(), module, exported)
    for name, value in result.measures.items():
        assert float(edits[-1][f"edit/{name}"]) == pytest.approx(value, rel=1e-3, abs=1e-4), name
