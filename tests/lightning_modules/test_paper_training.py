"""The paper's own configs, base.yaml with each branch, on two processes and tiny networks of SD's format."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import torch

from keyface.datamodules.shard_files.render import RenderSettings, render_shards
from keyface.diffusion.backbone import Backbone, load_unet
from keyface.lightning_modules.tuning.divergence import nonfinite_parts

CONFIGS = files("keyface.configs")
HERE = Path(__file__).parent

# Sizes, and how processes begin: precision, loss, optimizer, callbacks and checkpoints are those that ship.
TINY = (
    "--model.init_args.backbone=base",
    "--model.init_args.noisy_input.steps=4",
    # Judges and edits at validation want networks of their own; test_readme brings them.
    "--model.init_args.evaluators=null",
    "--trainer.callbacks=null",
    "--data.init_args.shards=shards",
    "--data.init_args.image_size=32",
    "--data.init_args.batch_size=2",
    "--data.init_args.val_fraction=0.5",
    "--data.init_args.workers=0",
    "--trainer.accelerator=cpu",
    "--trainer.strategy=ddp_fork",
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


# The shipped strategy, ddp, starts the second process as a program of its own, as runs of test_exact_training
# do; here processes are forked, by one program for both branches: most of a run's time goes into imports.
PROGRAM = """
import json, sys
from keyface.cli.main import main
sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


def test_two_processes_train_each_branch_by_the_papers_configs_export_and_say_it_if_they_diverge(
    folder_backbone: Backbone, recognizer_file: Path, tiny_clip: str, tmp_path: Path
) -> None:
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(tmp_path / "base" / part)
    settings = RenderSettings(count=12, size=32, samples_per_shard=4, latents=4)
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
    runs = []
    for branch, network in networks.items():
        configs = [word for name in ("base", branch) for word in ("-c", str(CONFIGS / f"{name}.yaml"))]
        runs.append(["fit", *configs, *TINY, *network])
    # Infinite weights after the first step: the three losses that follow are not finite.
    decay = "--model.init_args.optimizer.init_args.weight_decay=1e60"
    runs.append(
        [*runs[0], decay, "--experiment=diverged", "--trainer.max_steps=8", "--trainer.limit_val_batches=0"]
    )
    environment = {
        **os.environ, "PYTHONPATH": str(HERE), "KEYFACE_TRUST": "tiny_open_clip", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(runs)],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert "3 losses in a row were not finite" in done.stderr, done.stderr[-2000:]
    for saved in (tmp_path / "runs" / "diverged").rglob("*.ckpt"):
        assert nonfinite_parts(torch.load(saved, weights_only=True)) == []
    before = folder_backbone.unet.state_dict()
    for branch in networks:
        run = tmp_path / "runs" / branch / "latest"
        assert (run / "checkpoints" / "last.ckpt").is_file()
        exported = load_unet(run / "export", folder_backbone.unet).state_dict()
        assert any(not torch.equal(value, before[name]) for name, value in exported.items()), branch
