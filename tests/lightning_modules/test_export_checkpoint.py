"""A stopped run's checkpoint is exported as the run itself would have done it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Trainer
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from keyface.cli.main import main
from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Lora, Tuning

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


def run(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], folder: Path, tuning: Tuning
) -> Path:
    """Train two steps, save a checkpoint and export; all in one folder."""
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(folder / "base" / part)
    torch.manual_seed(0)
    module = IdentityModule(
        str(folder / "base"),
        recognizer,
        noisy_input=NoisyInput(source="noise"),
        tuning=tuning,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    trainer = Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader([batch, batch], batch_size=None))
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


WHOLE = Tuning(ema_decay=0.5)
PART = Tuning(ema_decay=None, trainable=r"attn2\.to_k")
ADAPTERS = Tuning(lora=Lora(rank=2, alpha=4.0), ema_decay=0.5)


@pytest.mark.parametrize("tuning", [WHOLE, PART, ADAPTERS], ids=["whole", "part", "adapters"])
def test_a_checkpoint_gives_what_the_run_exports(
    tuning: Tuning, backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = run(backbone, recognizer, batch, tmp_path, tuning)
    exported, direct = tmp_path / "from_checkpoint", tmp_path / "from_export"
    assert main(["export", str(checkpoint), "-o", str(exported), "--form", "unet"]) == 0
    assert (tmp_path / "export").is_dir(), "the run exported when it ended"
    words = [
        "export",
        str(tmp_path),
        "-o",
        str(direct),
        "--form",
        "unet",
        "--weights",
        str(tmp_path / "base"),
    ]
    assert main(words) == 0
    ours = UNet2DConditionModel.from_pretrained(exported).state_dict()
    theirs = UNet2DConditionModel.from_pretrained(direct).state_dict()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name])
    untuned = backbone.unet.state_dict()
    assert any(not torch.equal(value, untuned[name]) for name, value in ours.items())
    assert "2 steps" in (exported / "README.md").read_text()


def test_adapters_of_a_checkpoint_need_no_base(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = run(backbone, recognizer, batch, tmp_path, ADAPTERS)
    for file in (tmp_path / "base").rglob("*.safetensors"):
        file.unlink()
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "lora"), "--form", "lora"]) == 0
    names = list(load_file(tmp_path / "lora/pytorch_lora_weights.safetensors"))
    assert names
    assert all(name.startswith("unet.") and ".lora." in name for name in names)


def test_other_checkpoints_are_refused(
    backbone: Backbone,
    recognizer: nn.Module,
    batch: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(path: Path) -> str:
        assert main(["export", str(path), "-o", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    for text in ("no checkpoint", "hi\n", "", "\x80\x02q", "cos\nsystem\n(S'true'\ntR."):
        (tmp_path / "text.ckpt").write_text(text)
        assert f"{tmp_path / 'text.ckpt'}: no checkpoint that can be read safely" in refused(
            tmp_path / "text.ckpt"
        ), text
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    assert "no checkpoint of a branch of keyface" in refused(tmp_path / "other.ckpt")
    content = torch.load(run(backbone, recognizer, batch, tmp_path, WHOLE), weights_only=True)
    del content["state_dict"]["ema.module.0"]
    torch.save(content, tmp_path / "damaged.ckpt")
    assert "the moving average does not fit" in refused(tmp_path / "damaged.ckpt")
    content["state_dict"] = {"unet.conv_in.weight": torch.zeros(1)}
    torch.save(content, tmp_path / "wrong.ckpt")
    assert "'conv_in.weight' does not fit it" in refused(tmp_path / "wrong.ckpt")
