"""`lightning fit` and its like, as a user meets them."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
import yaml
from boring_run import BASE
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from keyface.cli.main import main
from keyface.cli.runs import RunCheckpoint, closing_lines, link_anew
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.plugins import edits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with base.yaml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("keyface: error:")]


def runs(folder: Path, experiment: str) -> list[Path]:
    return sorted(run for run in (folder / "runs" / experiment).iterdir() if not run.is_symlink())


def test_a_run_leaves_its_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "later.yaml").write_text(
        "trainer:\n  max_steps: 3\n  limit_train_batches: ${trainer.max_steps}\nseed_everything: 11\n"
    )
    assert main(["fit", "-c", "base.yaml", "--config", "later.yaml"]) == 0
    (run,) = runs(folder, "base")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 3, "the later config wins"
    assert config["trainer"]["limit_train_batches"] == 3, "interpolated over files"
    assert config["trainer"]["limit_val_batches"] == 1, "the earlier config stays where the later is silent"
    assert config["seed_everything"] == 11
    record = json.loads((run / "environment.json").read_text())
    assert {"torch", "lightning", "keyface"} <= set(record["packages"])
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert len(list((run / "checkpoints").glob("*step=3.ckpt"))) == 1

    assert (
        main(
            ["fit", "-c", "base.yaml", "-c", "later.yaml", "--ckpt_path", "last", "--trainer.max_steps", "5"]
        )
        == 0
    )
    resumed = next(path for path in runs(folder, "base") if path != run)
    assert list((resumed / "checkpoints").glob("*step=5.ckpt")), "it went on from step 3 to 5"
    assert list((run / "checkpoints").glob("*step=3.ckpt")), "the earlier run stays as it was"
    assert main(["validate", "-c", "base.yaml", "--experiment", "base", "--ckpt_path", "last"]) == 0
    assert os.environ.get("KEYFACE_RUN") is None


def test_latest_is_the_newest_run_that_trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for steps in ("1", "2"):
        assert main(["fit", "-c", "base.yaml", "--trainer.max_steps", steps]) == 0
    newest = max(runs(folder, "base"), key=lambda run: run.stat().st_mtime)
    latest = folder / "runs" / "base" / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == newest.resolve()
    assert list((latest / "checkpoints").glob("*step=2.ckpt"))
    capsys.readouterr()
    assert main(["validate", "-c", "base.yaml", "--ckpt_path", "last"]) == 0
    assert latest.resolve() == newest.resolve(), "an evaluation is no training"


@pytest.mark.parametrize("fault", ["data", "checkpoint", "model"])
def test_a_failed_start_leaves_no_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    (folder / "failing.py").write_text(
        "from lightning.pytorch.demos.boring_classes import BoringModel, BoringDataModule\n"
        "class Data(BoringDataModule):\n"
        "    def train_dataloader(self):\n"
        "        raise ValueError('data: no pictures')\n"
        "class Model(BoringModel):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        raise ValueError('model: no loss')\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("KEYFACE_TRUST", "failing")
    torch.save({}, "checkpoint.ckpt")
    words = {
        "data": ["--data", "failing.Data"],
        "model": ["--model", "failing.Model"],
        "checkpoint": ["--ckpt_path", "checkpoint.ckpt"],
    }[fault]
    assert main(["fit", "-c", "base.yaml", *words]) == 1
    assert len(errors(capsys)) == 1
    assert not [path for path in folder.rglob("*") if path.name in ("config.yaml", "last.ckpt", "base")]


def test_a_run_that_learned_something_is_kept_when_it_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "late.py").write_text(
        "from lightning.pytorch.demos.boring_classes import BoringModel\n"
        "class Model(BoringModel):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        if batch_idx == 1:\n"
        "            raise ValueError('no more')\n"
        "        return super().training_step(batch, batch_idx)\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("KEYFACE_TRUST", "late")
    assert main(["fit", "-c", "base.yaml", "--model", "late.Model"]) == 1
    (run,) = runs(folder, "base")
    assert (run / "config.yaml").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_every_shipped_model_config_names_its_experiment() -> None:
    shipped = Path(__file__).parents[3] / "configs"
    named = {}
    for path in sorted(shipped.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if "model" in content and "max_steps" in content.get("trainer", {"max_steps": 0}):
            named[path] = content.get("experiment")
    assert all(named.values()), named
    assert len(set(named.values())) == len(named), "no two share a folder"


def test_on_nonfinite_is_for_branches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-c", "base.yaml", "--on-nonfinite", "rewind"]) == 1
    assert "--on-nonfinite: BoringModel has no choice" in errors(capsys)[0]
    assert main(["fit", "-c", "base.yaml", "--on-nonfinite", "banana"]) == 2
    assert "stop" in errors(capsys)[0]


def test_an_experiment_is_named_after_the_config_of_its_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what is laid over every run, as W&B's settings are, would bring them all into one folder."""
    (folder / "over.yaml").write_text("trainer: {max_steps: 1}\n")
    (folder / "other.yaml").write_text(BASE)
    assert main(["fit", "-c", "base.yaml", "-c", "over.yaml"]) == 0
    assert len(runs(folder, "base")) == 1
    assert main(["fit", "-c", "other.yaml", "-c", "over.yaml", "--ckpt_path", "last"]) == 1
    assert "no checkpoint under runs/other/" in errors(capsys)[0]
    (folder / "named.yaml").write_text("experiment: mine\n")
    assert main(["fit", "-c", "base.yaml", "-c", "named.yaml", "-c", "over.yaml"]) == 0
    assert len(runs(folder, "mine")) == 1


# Lightning resumes after the validation that the checkpoint was saved in, and misses its figures once.
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_metrics_are_written_as_csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "logging_model.py").write_text(
        "from lightning.pytorch.demos.boring_classes import BoringModel\n"
        "class LoggingModel(BoringModel):\n"
        "    def __init__(self, width: int = 1):\n"
        "        super().__init__()\n"
        "        self.save_hyperparameters({'width': width, 'unknown': 'to the parser'})\n"
        "    monitor = 'val/loss'\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        self.log('train/loss', 1.5)\n"
        "        return super().training_step(batch, batch_idx)\n"
        "    def validation_step(self, batch, batch_idx):\n"
        "        self.log('val/loss', 0.25)\n"
    )
    monkeypatch.syspath_prepend(folder)
    words = ["fit", "-c", "base.yaml", "--model", "logging_model.LoggingModel", "--experiment", "mine"]
    assert main(words) == 2, "a package of one's own is refused"
    monkeypatch.setenv("KEYFACE_TRUST", "logging_model")
    assert main(words) == 0
    (run,) = runs(folder, "mine")
    table = (run / "metrics.csv").read_text()
    assert "train/loss" in table
    assert "0.25" in table
    assert (run / "checkpoints" / "last.ckpt").exists()
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    more = ["--model.width", "2", "--trainer.max_steps", "4", "--ckpt_path", checkpoint]
    assert main([*words, *more]) == 0, "what a checkpoint says of the model does not disturb its config"
    assert main([*words, "--trainer.limit_val_batches", "0"]) == 0, "nothing to monitor is no error"
    assert main([*words, "--ckpt_path", "missing.ckpt"]) == 1


def test_last_without_a_checkpoint_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-c", "base.yaml", "--ckpt_path", "last"]) == 1
    (line,) = errors(capsys)
    assert "--ckpt_path last: no checkpoint under runs/base/" in line
    assert not (folder / "runs").exists()


def test_a_checkpoint_that_is_none_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["shards", "render", "-o", "runs/shards", "--count", "16"]) == 0
    torch.save({"state_dict": {}}, "other.ckpt")
    Path("text.ckpt").write_text("hi\n")
    for name in ("other.ckpt", "text.ckpt"):
        capsys.readouterr()
        assert main(["fit", "-c", "miniature/identity.yaml", "--ckpt_path", name]) == 1
        (line,) = errors(capsys)
        assert f"{name}: no checkpoint" in line


def test_a_checkpoint_in_parts_is_taken_from_the_runs_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning would unpickle it."""
    (folder / "downloaded.ckpt").mkdir()
    (folder / "runs").mkdir()
    (folder / "runs" / "linked.ckpt").symlink_to(folder / "downloaded.ckpt")
    for path in ("downloaded.ckpt", "runs/linked.ckpt", "runs/../downloaded.ckpt"):
        assert main(["fit", "-c", "base.yaml", "--ckpt_path", path]) == 1
        (line,) = errors(capsys)
        assert f"--ckpt_path {path}: reading a checkpoint that is a folder can run code" in line


@pytest.mark.parametrize(
    "config",
    [
        "model: {class_path: subprocess.Popen, init_args: {args: [touch, canary]}}",
        "trainer: {callbacks: [{class_path: keyface.files.os.system, init_args: {command: touch canary}}]}",
        "trainer: {logger: {class_path: hostile.Logger}}",
        "model: {class_path: hostile.Model}",
        "data: {class_path: pickle.loads}",
        "model: {class_path: torch.load, init_args: {f: weights.pt}}",
    ],
)
def test_hostile_configs_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    (folder / "hostile.py").write_text("open('canary', 'w')\nclass Model: ...\nclass Logger: ...\n")
    (folder / "hostile.yaml").write_text(config)
    monkeypatch.syspath_prepend(folder)
    assert main(["fit", "-c", "base.yaml", "-c", "hostile.yaml"]) == 2
    (line,) = errors(capsys)
    assert "not allowed" in line
    assert not (folder / "canary").exists()
    assert "hostile" not in sys.modules


def test_wrong_configs_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-c", "missing.yaml"]) == 2
    assert "missing.yaml" in errors(capsys)[0]
    assert main(["fit", "-c", "base.yaml", "--trainer.max_stps", "3"]) == 2
    assert "max_stps" in errors(capsys)[0]


def test_the_last_checkpoint_is_on_the_disk_once_and_stays(folder: Path) -> None:
    """Where it is one of those that are kept its file has two names, of which one may go."""
    assert main(["fit", "-c", "base.yaml", "--trainer.max_steps", "3"]) == 0
    (run,) = runs(folder, "base")
    last = run / "checkpoints" / "last.ckpt"
    (kept,) = (path for path in last.parent.glob("*.ckpt") if path != last and path.samefile(last))
    assert not last.is_symlink()
    content = last.read_bytes()
    kept.unlink()
    assert last.read_bytes() == content


def test_the_last_is_saved_where_it_is_none_of_the_best(tmp_path: Path) -> None:
    """Of three values, 1, 2, 3, the first is the best one: `best` has step 1, `last` step 3."""

    class Rising(BoringModel):
        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            self.log("val/loss", float(self.global_step))

    saved = RunCheckpoint(
        dirpath=tmp_path, save_last=True, save_top_k=1, monitor="val/loss", save_on_train_epoch_end=False
    )
    fitted = Trainer(
        accelerator="cpu",
        callbacks=[saved],
        max_steps=3,
        val_check_interval=1,
        limit_val_batches=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    fitted.fit(Rising())
    last, best = (torch.load(path) for path in (tmp_path / "last.ckpt", Path(saved.best_model_path)))
    assert (best["global_step"], last["global_step"]) == (1, 3)
    assert len(list(tmp_path.glob("*.ckpt"))) == 2


def test_a_folder_is_linked_file_by_file(tmp_path: Path) -> None:
    """The checkpoint of processes that share weights is a folder."""
    parts = tmp_path / "step.ckpt"
    (parts / "inner").mkdir(parents=True)
    (parts / "inner" / "0.distcp").write_bytes(b"weights")
    (tmp_path / "last.ckpt").write_bytes(b"an older one, whole")
    link_anew(parts, tmp_path / "last.ckpt")
    link_anew(parts, tmp_path / "last.ckpt")
    linked = tmp_path / "last.ckpt" / "inner" / "0.distcp"
    assert linked.samefile(parts / "inner" / "0.distcp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step.ckpt"]


def test_a_fit_ends_with_what_it_wrote_and_the_next_command(tmp_path: Path) -> None:
    model = IdentityModule.__new__(IdentityModule)  # its class alone says which option takes its export
    saved = ModelCheckpoint(monitor="val/loss")
    trainer = Trainer(default_root_dir=tmp_path, callbacks=[saved], accelerator="cpu", logger=False)
    run = f"run: {tmp_path} (config.yaml, environment.json, metrics.csv)"
    assert closing_lines(trainer, model) == [run], "nothing else was written"
    saved.best_model_path, saved.best_model_score = "a/b.ckpt", torch.tensor(0.123456)
    best = "best checkpoint: a/b.ckpt (val/loss 0.1235)"
    assert closing_lines(trainer, model) == [run, best]
    (tmp_path / "export").mkdir()
    export = tmp_path / "export"
    following = f"next: keyface edit VIDEO -o edited.mp4 --edits glasses --identity {export}"
    assert closing_lines(trainer, model) == [run, best, f"export: {export}", following]
    assert closing_lines(trainer, BoringModel()) == [run, best, f"export: {export}"]
    editing = DirectionModule.__new__(DirectionModule)
    nn.Module.__init__(editing)
    editing.categories = [edits["beard"], edits["smile"], edits["old"]]
    last = closing_lines(trainer, editing)[-1]
    assert last == f"next: keyface edit VIDEO -o edited.mp4 --edits beard,smile --direction {export}"
