"""`keyface caption` and `keyface shards invert`, and training on what they wrote."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from keyface.cli.main import main
from keyface.commands.data.shards import render
from keyface.datamodules.shard_files.index import ShardIndex
from keyface.datamodules.shards import ShardsDataModule
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.miniature import zoo

# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")

HERE = ("--accelerator", "cpu", "--devices", "1", "--workers", "0", "--batch-size", "3")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    render(tmp_path / "shards", count=7, size=32, samples_per_shard=4)
    return tmp_path / "shards"


def samples(folder: Path, **options: Any) -> dict[str, Any]:
    data = ShardsDataModule(folder, batch_size=7, val_fraction=0.999, **options)
    data.setup()
    return next(iter(data.val_dataloader()))


def test_blip2_captions_shards(
    shards: Path, blip2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["caption", str(shards), "--captioner", f"blip2:{blip2_folder}", "--prompt", "a photo", *HERE]
    assert main(words) == 0
    captions = samples(shards)["caption"]
    assert len(captions) == 7
    assert all(text.startswith("a photo") for text in captions)
    made = ShardIndex.read(shards).made
    assert made["captioned"] == {
        "captioner": f"blip2:{blip2_folder}",
        "prompt": "a photo",
        "max_new_tokens": 40,
        "beams": 5,
    }
    assert made["by"] == "keyface shards render"
    assert main(["shards", "verify", str(shards)]) == 0


def test_the_miniature_captions_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "shards", count=4, size=128, first_identity=1_000_000)
    before = samples(tmp_path / "shards")
    assert main(["caption", "shards", "--captioner", "miniature", *HERE]) == 0
    after = samples(tmp_path / "shards")
    assert after["caption"] == zoo.caption_images(after["image"])
    said = [caption.split(", ")[0] for caption in before["caption"]]
    assert sum(s == caption.split(", ")[0] for s, caption in zip(said, after["caption"], strict=True)) >= 3


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = [line for line in capsys.readouterr().err.splitlines() if line.startswith("keyface: error:")]
    assert len(found) == 1
    return found


def test_missing_weights_are_one_line_and_nothing_is_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path / "none"))
    before = (shards / "index.json").read_bytes()
    assert main(["caption", str(shards), *HERE]) == 1
    assert [line for line in errors(capsys) if "keyface weights get blip2" in line]
    assert main(["shards", "invert", str(shards), "--backbone", "stable-diffusion-2-1-base", *HERE]) == 1
    assert [line for line in errors(capsys) if "keyface weights get stable-diffusion-2-1-base" in line]
    assert (shards / "index.json").read_bytes() == before


def save(backbone: Any, folder: Path) -> Path:
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(folder / part)
    return folder


def test_inverted_latents_are_the_frozen_base_s_and_both_branches_train_on_them(
    shards: Path, folder_backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = save(folder_backbone, tmp_path / "base")
    words = ["shards", "invert", str(shards), "--backbone", str(base), "--steps", "5", "--levels", "3", *HERE]
    assert main([*words, "--highest", "0.8"]) == 0
    batch = samples(shards, with_latents=True)
    clean = folder_backbone.encode_images(batch["image"]).detach()
    assert (batch["latent"] - clean).abs().mean() < 0.01 * clean.abs().mean() + 1e-3
    grid = Grid.of(folder_backbone.scheduler, 5)
    text = folder_backbone.encode_prompts(batch["caption"])
    whole = invert(folder_backbone.unet, folder_backbone.scheduler, batch["latent"], text, 5)
    for row, timestep in enumerate(batch["timestep"].tolist()):
        level = grid.timesteps.index(timestep) + 1
        assert level in (1, 3, 4)
        assert torch.allclose(batch["inverted"][row], whole[level, row], atol=1e-3)
    made = ShardIndex.read(shards).made["inverted"]
    assert made == {"backbone": str(base), "steps": 5, "levels": [1, 3, 4], "fixed_point_iterations": 1}

    configs = Path(__file__).parents[3] / "configs" / "miniature"
    for branch in ("identity", "direction"):
        common = [
            *("fit", "-c", str(configs / f"{branch}.yaml")),
            f"--model.init_args.backbone={base}",
            "--model.init_args.noisy_input={source: cached}",
            "--data.init_args.shards=shards",
            "--data.init_args.batch_size=2",
            "--data.init_args.val_fraction=0.3",
            "--data.init_args.with_latents=true",
            "--trainer.accelerator=cpu",
            "--trainer.callbacks=[]",
            "--trainer.max_steps=2",
            "--trainer.val_check_interval=2",
            "--trainer.limit_val_batches=1",
            "--trainer.log_every_n_steps=1",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ]
        assert main([*common, "--model.init_args.evaluators=null"]) == 0
        run = tmp_path / "runs" / "miniature" / branch / "latest"
        assert "train/loss" in (run / "metrics.csv").read_text()


@pytest.mark.parametrize("processes", [2])
def test_two_processes_share_the_samples(
    shards: Path, folder_backbone: Any, tmp_path: Path, processes: int
) -> None:
    """The command starts its own second process, as on a machine with two GPUs."""
    base = save(folder_backbone, tmp_path / "base")
    script = Path(sys.executable).with_name("keyface")
    words = [script, "shards", "invert", shards, "--backbone", base, "--steps", "3", "--levels", "3"]
    options = ["--accelerator", "cpu", "--devices", str(processes), "--workers", "0", "--batch-size", "2"]
    result = subprocess.run(
        [*map(str, words), *options], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "MEMBER: 2/2" in result.stderr + result.stdout, "Lightning says how many processes took part"
    assert f"{shards}: 7 samples have latents, 7 new" in result.stderr + result.stdout
    batch = samples(shards, with_latents=True)
    text = folder_backbone.encode_prompts(batch["caption"])
    whole = invert(folder_backbone.unet, folder_backbone.scheduler, batch["latent"], text, 3)
    grid = Grid.of(folder_backbone.scheduler, 3)
    for row, timestep in enumerate(batch["timestep"].tolist()):
        level = grid.timesteps.index(timestep) + 1
        assert torch.allclose(batch["inverted"][row], whole[level, row], atol=1e-3)
    assert not (shards / ".latents").exists()
