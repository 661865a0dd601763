"""The paper's own configs, base.yaml with each branch, on two processes and tiny networks of SD's format."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from keyface.datamodules.shard_files.render import Rendered, render_shards
from keyface.diffusion.backbone import Backbone, load_unet

CONFIGS = files("keyface.configs")
HERE = Path(__file__).parent

# Sizes alone: strategy, precision, loss, optimizer, callbacks and checkpoints are those that ship.
TINY = (
    "--model.init_args.backbone=base",
    "--model.init_args.noisy_input.steps=4",
    "--data.init_args.shards=shards",
    "--data.init_args.image_size=32",
    "--data.init_args.batch_size=2",
    "--data.init_args.val_fraction=0.5",
    "--data.init_args.workers=0",
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


# The shipped strategy starts the second process as a program of its own; forking saves its ten seconds.
STRATEGIES = {"identity": "ddp", "direction": "ddp_fork"}


@pytest.fixture
def started(
    folder_backbone: Backbone, recognizer_file: Path, tiny_clip: str, tmp_path: Path
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both branches' runs, at the same time: most of theirs goes into imports."""
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(tmp_path / "base" / part)
    settings = Rendered(count=12, size=32, samples_per_shard=4, latents=4)
    render_shards(tmp_path / "shards", settings, lambda: folder_backbone)
    model, _, weights = tiny_clip.partition(":")
    networks = {
        "identity": [f"--model.init_args.identity_network=arcface:{recognizer_file}"],
        "direction": [
            "--model.init_args.encoder=tiny_open_clip.TinyOpenClip",
            f"--model.init_args.encoder.init_args.model={model}",
            f"--model.init_args.encoder.init_args.weights={weights}",
        ],
    }
    script = Path(sys.executable).with_name("keyface")
    environment = {
        **os.environ, "PYTHONPATH": str(HERE), "KEYFACE_TRUST": "tiny_open_clip", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    runs = {}
    for branch, strategy in STRATEGIES.items():
        configs = [word for name in ("base", branch) for word in ("-c", str(CONFIGS / f"{name}.yaml"))]
        words = [*configs, *TINY, *networks[branch], f"--trainer.strategy={strategy}"]
        runs[branch] = subprocess.Popen(
            [str(script), "fit", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
    yield runs
    for run in runs.values():
        run.kill()
        run.wait()


def test_two_processes_train_each_branch_by_the_papers_configs_and_export(
    started: dict[str, subprocess.Popen[str]], folder_backbone: Backbone, tmp_path: Path
) -> None:
    before = folder_backbone.unet.state_dict()
    for branch, process in started.items():
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]
        (run,) = (tmp_path / "runs" / branch).iterdir()
        assert (run / "checkpoints" / "last.ckpt").is_file()
        exported = load_unet(run / "export", folder_backbone.unet).state_dict()
        assert any(not torch.equal(value, before[name]) for name, value in exported.items()), branch
