"""The command line, as a user meets it."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import keyface
from keyface.cli import main as cli
from keyface.cli.main import COMMANDS, TRAINING, Command, Group, main, one_line

SCRIPTS = Path(sysconfig.get_path("scripts"))

BASE = """
model:
  class_path: lightning.pytorch.demos.boring_classes.BoringModel
data:
  class_path: lightning.pytorch.demos.boring_classes.BoringDataModule
trainer:
  accelerator: cpu
  max_steps: 2
  limit_train_batches: 2
  limit_val_batches: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with base.yaml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("keyface: error:")]


def runs(folder: Path, experiment: str) -> list[Path]:
    return sorted((folder / "runs" / experiment).iterdir())


@pytest.mark.parametrize("script", ["keyface", "lightning"])
def test_both_scripts_list_every_command_without_torch(script: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [SCRIPTS / script, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    for name in (*TRAINING, *COMMANDS):
        assert f"\n    {name} " in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "keyface.cli.main" in imported
    assert not imported & {"torch", "lightning", "diffusers", "transformers", "numpy", "av", "wandb"}


def test_every_command_of_the_table_exists_and_is_light() -> None:
    targets = {
        command.target
        for entry in COMMANDS.values()
        for command in ([*entry.commands.values(), entry.default] if isinstance(entry, Group) else [entry])
        if command is not None
    }
    code = (
        "import sys; from keyface.cli.main import Command\n"
        f"for target in {sorted(targets)}: assert callable(Command(target, '').resolve()), target\n"
        "print(sorted({'torch', 'lightning', 'diffusers', 'transformers', 'wandb'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]", "a command module imports heavy packages at its top"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [SCRIPTS / "keyface", "plugins", "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize(
    "words",
    [
        ["benchmark"],
        ["benchmark", "train"],
        *([name] for name in COMMANDS if isinstance(COMMANDS[name], Command)),
    ],
)
def test_help_of_a_command_documents_every_argument(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = cli.build_parser(words)
    with pytest.raises(SystemExit) as exit_info:
        parser.parse_args([*words, "--help"])
    assert exit_info.value.code == 0
    assert words[0] in capsys.readouterr().out


def test_version_and_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "edit" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert keyface.__version__ in capsys.readouterr().out


def test_unknown_words_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edti"]) == 2
    assert "edti" in errors(capsys)[0]
    assert main(["edit", "in.mp4", "-o", "out.mp4", "--editz", "beard"]) == 2
    assert len(errors(capsys)) == 1


def test_functions_become_commands(capsys: pytest.CaptureFixture[str]) -> None:
    def example(
        videos: list[Path],
        output: Path,
        lightning: object,
        frame_rate: int = 3,
        loud: bool = False,
        method: list[str] | None = None,
    ) -> None:
        """Example.

        Args:
            videos: What to read.
            output: What to write.
            lightning: Not the user's.
            frame_rate: Frames per second.
            loud: Whether to shout.
            method: What else to compare.
        """

    parser = cli.ArgumentParser(exit_on_error=False)
    cli.add_function(parser, example)
    words = ["a.mp4", "b.mp4", "-o", "c.mp4", "--frame-rate", "5", "--loud", "--method", "x", "--method", "y"]
    values = parser.parse_args(words)
    assert values.as_dict() == {
        "videos": [Path("a.mp4"), Path("b.mp4")],
        "output": Path("c.mp4"),
        "frame_rate": 5,
        "loud": True,
        "method": ["x", "y"],
    }
    assert parser.parse_args(["a.mp4", "--output", "c.mp4"]).frame_rate == 3
    assert parser.parse_args(["a.mp4", "--output", "c.mp4"]).method is None
    assert "Frames per second." in parser.format_help()


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
    assert cli.os.environ.get("KEYFACE_RUN") is None


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


def test_interruption_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_command", interrupted)
    assert main(["edit"]) == 130
    assert capsys.readouterr().err == "keyface: interrupted\n"


def test_tracebacks_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFACE_DEBUG", "1")
    with pytest.raises(ValueError, match="one of the two"):
        main(["edit", "in.mp4", "-o", "out.mp4"])


def test_an_error_of_a_config_s_class_is_told_without_its_wrapping() -> None:
    wrapped = ValueError(
        "Does not validate against any of the Union subtypes\nSubtypes: [A, B]\nErrors:\n"
        "  - missing weights: blip2\n  - Expected a <class 'NoneType'>\nGiven value type: A\nGiven value: a"
    )
    assert one_line(wrapped) == "missing weights: blip2"
    assert one_line(KeyError("no such\nthing")) == "no such thing"
