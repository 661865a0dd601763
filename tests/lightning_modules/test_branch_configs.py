"""The branches' shipped configs: they parse, hold the paper's numbers, and train through `lightning fit`."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from keyface.cli.main import main
from keyface.commands.data.shards import render
from keyface.diffusion.backbone import Backbone, load_unet
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.weights import catalogue

CONFIGS = files("keyface.configs")
# Lightning's advice on logging intervals, which tiny runs do not heed.
pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


def resolved(names: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    words = [word for name in names for word in ("-c", str(CONFIGS / name))]
    with pytest.raises(SystemExit) as exit_of_print_config:
        main(["fit", *words, "--print_config"])
    assert not exit_of_print_config.value.code
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(capsys.readouterr().out)))


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_full_size_configs_hold_the_papers_numbers(branch: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = resolved(["base.yaml", f"{branch}.yaml"], capsys)
    trainer, data = settings["trainer"], settings["data"]["init_args"]
    assert data["batch_size"] * trainer["devices"] == 16
    assert trainer["max_steps"] == 30_000
    assert data["image_size"] == 512
    model = settings["model"]["init_args"]
    assert model["optimizer"]["init_args"]["lr"] == 1e-5
    assert model["lr_scheduler"]["init_args"]["total_steps"] == 30_000
    if branch == "direction":
        assert (model["content_weight"], model["direction_weight"], model["locality_weight"]) == (
            0.3,
            0.7,
            0.0,
        )
    else:
        assert (model["pixel_weight"], model["identity_weight"]) == (1.0, 1.0)


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_full_size_configs_edit_judge_and_log_to_wandb_without_the_miniature(
    branch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = resolved(["base.yaml", f"{branch}.yaml"], capsys)
    trainer, model = settings["trainer"], settings["model"]["init_args"]
    assert trainer["logger"]["class_path"].endswith("WandbLogger")
    assert trainer["logger"]["init_args"]["offline"] is True
    (callback,) = trainer["callbacks"]
    edits = callback["init_args"]
    assert (edits["branch"], edits["pictures"]) == (branch, 1)
    trained_against = (model.get("identity_network"), model.get("encoder"))
    for judge in (*edits["recognizers"], *model["evaluators"].split(","), edits["image_text"]):
        assert judge in catalogue()
        assert judge not in trained_against
    assert "miniature" not in json.dumps(settings)
    online = resolved(["base.yaml", f"{branch}.yaml", "online.yaml"], capsys)
    assert online["trainer"]["logger"]["init_args"] == {
        **trainer["logger"]["init_args"], "offline": False
    }  # fmt: skip
    assert online["trainer"]["callbacks"] == trainer["callbacks"]


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_miniature_configs_parse(branch: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = resolved([f"miniature/{branch}.yaml"], capsys)
    assert settings["model"]["init_args"]["backbone"] == "miniature"
    steps = settings["model"]["init_args"]["lr_scheduler"]["init_args"]["total_steps"]
    assert steps == settings["trainer"]["max_steps"]


def test_the_papers_configs_ask_at_once_for_all_that_the_user_must_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEYFACE_WEIGHTS", raising=False)
    for branch, network in (("identity", "arcface"), ("direction", "clip-vit-b-16")):
        assert main(["fit", "-c", "base.yaml", "-c", f"{branch}.yaml"]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        asked = re.findall(r"Run `keyface weights get ([^`]+)`", line)[0].split()
        assert sorted(asked) == sorted(
            ["stable-diffusion-2-1-base", network, "cosface", "facenet", "face-api", "clip-vit-b-32-laion"]
        )
        assert not list(tmp_path.iterdir())
    get = "keyface weights get stable-diffusion-2-1-base"
    with pytest.raises(FileNotFoundError, match=f"{get} arcface cosface facenet`"):
        IdentityModule("models/stable-diffusion-2-1-base", "arcface", "cosface,facenet")
    with pytest.raises(FileNotFoundError, match=f"{get} clip-vit-b-16`"):
        DirectionModule("models/stable-diffusion-2-1-base", "clip-vit-b-16")


def test_fit_through_the_command_line(backbone: Backbone, tmp_path: Path) -> None:
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(tmp_path / "base" / part)
    render(tmp_path / "shards", count=12, size=32, samples_per_shard=6)
    network = "keyface.miniature.networks.recognition.IdentityNetwork"
    words = [
        *("fit", "-c", str(CONFIGS / "miniature/identity.yaml")),
        f"--runs={tmp_path / 'runs'}",
        f"--model.init_args.backbone={tmp_path / 'base'}",
        f"--model.init_args.identity_network={network}",
        "--model.init_args.identity_network.init_args.architecture=iresnet",
        "--model.init_args.evaluators=null",
        f"--data.init_args.shards={tmp_path / 'shards'}",
        "--data.init_args.batch_size=2",
        "--data.init_args.val_fraction=0.3",
        "--trainer.accelerator=cpu",
        # The config's validation videos need the shipped ε2, which does not fit a tiny base.
        "--trainer.callbacks=[]",
        "--model.init_args.noisy_input.steps=2",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.limit_val_batches=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    assert main(words) == 0
    run = tmp_path / "runs" / "miniature" / "identity" / "latest"
    card = json.loads((run / "export" / "card.json").read_text())
    assert card["samples_seen"] == 4
    assert card["configuration"]["tuning"]["lora"]["rank"] == 16
    assert card["data"]["batch_size"] == 2
    assert card["metrics"]["val/loss"] > 0
    assert load_unet(run / "export", backbone.unet).config == backbone.unet.config
