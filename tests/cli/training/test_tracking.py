"""What W&B is told of a run by the command line, read back from the offline run's own file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from boring_run import BASE
from lightning.pytorch.loggers import WandbLogger
from wandb_file import OfflineRun, offline_runs

from keyface.cli.main import main
from keyface.cli.training.tracking import git_state, require_login
from keyface.doctor.machine import has_wandb_login

NAMED = f"experiment: mine/boring\n{BASE}seed_everything: 11\n"
WANDB = Path(__file__).parents[3] / "configs" / "wandb.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "base.yaml").write_text(NAMED)
    return tmp_path


def fit(*words: str) -> list[OfflineRun]:
    assert main(["fit", "-c", "base.yaml", "-c", str(WANDB), *words]) == 0
    return offline_runs(Path())


def test_a_run_is_named_and_has_its_whole_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/lightning", "fit", "-c", "base.yaml"])
    for words in (["init"], ["commit", "--allow-empty", "-m", "first"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], check=True, capture_output=True)
    (told,) = fit()
    (run,) = [each for each in (folder / "runs/mine/boring").iterdir() if not each.is_symlink()]
    assert told.run.display_name == f"mine/boring/{run.name}"
    assert told.run.run_group == "mine/boring"
    assert told.run.job_type == "boringmodel"
    assert "keyface" in told.run.tags
    assert told.run.notes == "BoringModel: lightning fit -c base.yaml"
    assert told.config["trainer"]["max_steps"] == 2
    assert told.config["seed_everything"] == 11
    assert told.config["data"]["class_path"].endswith("BoringDataModule")
    facts = told.config["run"]
    assert facts["folder"] == str(run.relative_to(folder))
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert facts["git"] == {"commit": head.stdout.strip(), "changed": False}
    assert {"keyface", "torch", "lightning"} <= facts["packages"].keys()
    assert facts["precision"] == "32-true"
    assert facts["gpu"] is None
    hyperparameters = yaml.safe_load((run / "hparams.yaml").read_text())
    assert hyperparameters["trainer"]["max_steps"] == 2, "other loggers are told the same"
    assert not any(name.startswith("WANDB_RUN") or name == "WANDB_NAME" for name in os.environ)


def test_wandb_online_without_a_login_is_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    online = ["fit", "-c", "base.yaml", "-c", "online.yaml"]
    assert main(online) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    for way in ("`wandb login`", "WANDB_MODE=offline", "--trainer.logger=true"):
        assert way in line
    assert not (folder / "runs").exists()
    assert main([*online, "--trainer.logger=true"]) == 0
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(online) == 0
    assert len(offline_runs(folder)) == 1


def test_a_login_is_a_key_or_an_entry_for_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    (folder / "netrc").write_text("machine dash.example.org login user password none\n")
    assert not has_wandb_login()
    monkeypatch.setenv("WANDB_BASE_URL", "https://dash.example.org")
    assert has_wandb_login()
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_wandb_login()
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.delenv("WANDB_MODE")
    with pytest.raises(ValueError, match="nobody is logged in"):
        require_login([WandbLogger(project="p", save_dir=folder)])
    require_login([WandbLogger(project="p", save_dir=folder, offline=True)])


def test_a_resumed_run_goes_on_in_the_same_wandb_run(folder: Path) -> None:
    (first,) = fit()
    _, second = fit("--ckpt_path", "last", "--trainer.max_steps", "4", "--trainer.max_epochs", "2")
    assert second.run.run_id == first.run.run_id
    assert second.run.display_name == first.run.display_name
    assert second.config["trainer"]["max_steps"] == 4
    kept = [json.loads(path.read_text())["id"] for path in folder.glob("runs/mine/boring/2*/wandb.json")]
    assert kept == [first.run.run_id] * 2
    third = fit()[-1]
    assert third.run.run_id != first.run.run_id, "a fresh start is a run of its own"


def test_what_the_config_sets_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_TAGS", "mine")
    logger = "trainer.logger.init_args"
    (told,) = fit(f"--{logger}.name", "chosen", f"--{logger}.id", "chosenid")
    assert (told.run.display_name, told.run.run_id) == ("chosen", "chosenid")
    assert list(told.run.tags) == ["mine"]
    assert told.run.run_group == "mine/boring"
    assert os.environ["WANDB_TAGS"] == "mine"


def test_git_state_of_no_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"commit": None, "changed": None}
