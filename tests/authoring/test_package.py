"""What `keyface plugins new` writes can be installed, tested and used."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from forks import Fork
from wandb_file import offline_runs

from keyface.authoring.package import Draft, package_files, write_package
from keyface.cli.main import main
from keyface.plugins import EditError

TRAINING = """
experiment: spectacles
model:
  init_args: {categories: [spectacles], evaluators: null, regional: null, gradient_steps: 1}
data:
  init_args: {shards: shards, batch_size: 2, val_fraction: 0.3}
trainer:
  accelerator: cpu
  precision: 32-true
  max_steps: 2
  val_check_interval: 2
  limit_val_batches: 1
  log_every_n_steps: 1
  callbacks: null
  enable_model_summary: false
  enable_progress_bar: false
"""

SPECTACLES = Draft("spectacles", ("wearing glasses",), "without glasses", "Eyeglasses", ("eye_g", "l_eye"))
"""Words and a label that the miniature knows, so that its faces can be trained with."""

DIMPLES = Draft("dimples", ("dimples", "dimpled cheeks"), "smooth cheeks", "", ("skin",))


def run(*words: str, folder: Path) -> str:
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, f"{words}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_the_files_of_a_package() -> None:
    found = package_files(Draft("round-ears", ('"big" ears', "große Ohren"), attribute="Big_Nose"))
    assert set(found) == {
        "pyproject.toml",
        "keyface_round_ears.py",
        "tests/test_round_ears.py",
        "README.md",
        ".github/workflows/test.yml",
    }
    project = tomllib.loads(found["pyproject.toml"])
    assert project["project"]["name"] == "keyface-round-ears"
    assert project["project"]["entry-points"] == {
        "keyface.edits": {"round-ears": "keyface_round_ears:ROUND_EARS"}
    }
    names: dict[str, object] = {}
    exec(compile(found["keyface_round_ears.py"], "category", "exec"), names)
    category = names["ROUND_EARS"]
    assert category == Draft("round-ears", ('"big" ears', "große Ohren"), attribute="Big_Nose").category
    steps = yaml.safe_load(found[".github/workflows/test.yml"])["jobs"]["test"]["steps"]
    assert steps[1]["with"]["python-version"] == "${{ matrix.python }}"
    assert [step["run"] for step in steps if "run" in step] == ['pip install ".[test]"', "pytest"]
    assert all(text.endswith("\n") and "\n\n\n\n" not in text for text in found.values())


def test_what_is_not_said_follows_from_the_name() -> None:
    category = Draft("laugh-lines").category
    assert (category.targets, category.source) == (("laugh lines",), "no laugh lines")
    assert (category.attribute, category.own_labels) == ("Laugh_Lines", ("Laugh_Lines",))
    assert Draft("x", attribute="Bald").category.own_labels == ()
    with pytest.raises(EditError, match=r"unknown attribute 'Blad'.*did you mean 'Bald'"):
        package_files(Draft("x", attribute="Blad"))


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main(["plugins", "new", "dimples", "-o", str(tmp_path / "mine")]) == 1
    assert "exists; give another folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert main(["plugins", "new", "Dimples!", "-o", str(tmp_path / "other")]) == 1
    assert "a name is lower-case letters" in capsys.readouterr().err
    assert not (tmp_path / "other").exists(), "nothing is written before all is checked"


def test_the_hint_installs_the_folder_and_no_package_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "dimples"]) == 0
    assert "pip install ./keyface-dimples && " in capsys.readouterr().out
    assert main(["plugins", "new", "dimples", "-o", str(tmp_path / "mine")]) == 0
    assert f"pip install {tmp_path / 'mine'} && " in capsys.readouterr().out


def test_a_new_package_is_clean(tmp_path: Path) -> None:
    write_package(DIMPLES, tmp_path / "package")
    run(sys.executable, "-m", "ruff", "check", "--isolated", ".", folder=tmp_path / "package")
    run(
        *(sys.executable, "-m", "ruff", "format", "--isolated", "--check", "--line-length", "110", "."),
        folder=tmp_path / "package",
    )


def test_a_new_package_is_installed_tested_and_used(tmp_path: Path) -> None:
    """As a third party would: pip, pytest in the package's folder, and commands in processes of their own."""
    package, site = tmp_path / "keyface-dimples", tmp_path / "site"
    write_package(DIMPLES, package)
    pip = ["pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target"]
    run(sys.executable, "-P", "-m", *pip, str(site), ".", folder=package)
    listed = Fork(["plugins", "list"], packages=site).wait()
    row = next(line for line in listed.stdout.splitlines() if line.startswith("dimples "))
    assert row.split()[-2:] == ["keyface-dimples", "0.1.0"]
    checked = Fork(["plugins", "check"], packages=site).wait()
    assert checked.returncode == 0, checked.stderr
    tested = Fork(["plugins", "try", "dimples", "--faces", "1", "--frames", "1", "--steps", "2",
                   "-o", str(tmp_path / "sheet.png")], packages=site).wait()  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 0
    assert "does not know dimples" in tested.stderr, "the miniature has no word for them"
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import pytest; sys.exit(pytest.main(['-q', '.']))"
    assert "6 passed" in run(sys.executable, "-P", "-c", code, folder=package)


def test_a_new_package_is_trained_and_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of ε2 for a third party's category with W&B offline, and an edit with what they gave."""
    monkeypatch.chdir(tmp_path)
    write_package(SPECTACLES, tmp_path / "package")
    pip = ["pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target"]
    run(sys.executable, "-P", "-m", *pip, "../site", ".", folder=tmp_path / "package")

    def keyface(*words: str) -> str:
        ended = Fork(words, {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}, tmp_path / "site").wait()
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    (tmp_path / "mine.yaml").write_text(TRAINING)
    keyface("shards", "render", "-o", "shards", "--count", "12")
    keyface("fit", "-c", "miniature/direction.yaml", "-c", "wandb.yaml", "-c", "mine.yaml")
    keyface("miniature", "clip", "-o", "clip.mp4", "--seconds", "0.125", "--fps", "8")
    words = ["--edits", "spectacles", "--direction", "runs/spectacles", "--steps", "2"]
    assert "runs/spectacles" in keyface("edit", "clip.mp4", "-o", "edited.mp4", *words)
    assert (tmp_path / "edited.mp4").stat().st_size > 0
    (told,) = offline_runs(tmp_path / "runs")
    assert told.run.run_group == "spectacles"
    assert told.config["model"]["init_args"]["categories"] == ["spectacles"]
    assert [each.type for each in told.artifacts] == ["dataset", "model"]
    keyface("dashboard", "runs/spectacles")
    assert "spectacles" in (tmp_path / "runs" / "spectacles" / "dashboard.html").read_text()
