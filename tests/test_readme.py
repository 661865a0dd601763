"""Every command and example of the README, run as a newcomer would, only smaller."""

import configparser
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from diffusers import AutoencoderKL

from keyface.cli.main import main
from keyface.cli.training import run_training
from keyface.miniature.zoo import WEIGHTS
from keyface.plugins import Category
from keyface.plugins.registry import Registry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()

SMALLER = {
    "keyface miniature clip": "--seconds 0.25 --fps 16",
    "keyface edit": "--steps 2",
    "keyface shards render": "--count 24 --samples-per-shard 12",
    "keyface miniature measure": "--faces 4 --prompts 2",
    "keyface evaluate --protocol miniature": "--clips 2 --gallery 1 --frames 2 --edit steps=2",
    "keyface benchmark train": "--steps 1 --repeats 1 --batch-size 1 --branches identity --tunings lora",
    "keyface benchmark": "--dry-run --frames 4 --modes latent --repeats 1",
    "keyface evaluate --protocol multi_edit": "--clips 2 --gallery 1 --frames 2 --edit steps=2",
    "keyface evaluate --protocol goals": "--clips 2 --gallery 1 --frames 2 --edit steps=2",
    "keyface evaluate --protocol runs/goals": "--edit steps=2",
    "keyface ablate": "--identities 1 --frames 2 --steps 2 --distractors 1",
    "lightning fit -c configs/miniature": (
        "--trainer.max_steps 1 --trainer.val_check_interval 1 --trainer.limit_val_batches 1 "
        "--data.init_args.batch_size 2 --trainer.callbacks null --trainer.enable_progress_bar false"
    ),
}
"""What is put behind a command, by how it begins; the last value of an option counts."""

FULL_SIZE = "configs/base.yaml"
"""A command with this needs GPUs and the paper's data: its configuration is read, its networks are not."""

NEEDS_DATA = ("keyface shards celeba-hq", "keyface caption", "keyface shards invert")
"""Commands on data that only the user has: here they must say in one line what is missing."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[str]:
    """Lines of the console blocks and `keyface …` spans in the text, without comments, whole options only."""
    lines = "\n".join(blocks("console")).replace("\\\n", " ").splitlines()
    spans = [span for span in re.findall(r"`(keyface [^`]+)`", TEXT.replace("\n", " ")) if "…" not in span]
    return [re.split(r"\s+#\s", line)[0].strip() for line in [*lines, *spans] if line.strip()]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README takes for granted: configs, a backbone, two trained branches."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    backbone = tmp_path / "models" / "stable-diffusion-2-1-base"
    shutil.copytree(WEIGHTS / "base", backbone)
    shutil.rmtree(backbone / "vae")
    AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=12,
        norm_num_groups=4,
        sample_size=128,
    ).save_pretrained(backbone / "vae")
    for branch in ("identity", "direction"):
        shutil.copytree(WEIGHTS / branch, tmp_path / "runs" / branch / "export")
    (tmp_path / "FILE.yaml").write_text(
        "freckles: {targets: [freckles], source: clear skin, attribute: Rosy_Cheeks}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_every_command_of_the_readme_runs(newcomer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = []
    for command in commands():
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
            continue
        words = shlex.split(command)
        if words[0] == "keyface" and len(words) == 2:
            continue  # a command's name alone
        if "talk.mp4" in words:
            shutil.copy("clip.mp4", "talk.mp4")
        if "other=outputs" in words:
            shutil.copytree("runs/evaluate/clips/rendered", "outputs")
        if FULL_SIZE in words:
            with pytest.raises(SystemExit) as ended:
                run_training([*words[1:], "--print_config"])
            assert ended.value.code in (0, None)
            assert "max_steps: 30000" in capsys.readouterr().out
            continue
        if command.startswith(NEEDS_DATA):
            assert main(words[1:]) == 1
            error = capsys.readouterr().err
            assert re.search(r"^keyface: error: .*(complete|missing|no such)", error, flags=re.MULTILINE)
            continue
        smaller = next((extra for start, extra in SMALLER.items() if command.startswith(start)), "")
        try:
            status = main([*words[1:], *smaller.split()])
        except SystemExit as ended_by_help:
            status = int(ended_by_help.code or 0)
        output = capsys.readouterr()
        assert status == 0, f"{command}\n{output.err}"
        ran.append(command)
    assert len(ran) >= 9
    written = {path.name for path in newcomer.iterdir()}
    assert {"edited.mp4", "edited.json", "side_by_side.mp4", "blond.mp4", "glasses.mp4"} <= written
    assert (newcomer / "runs" / "evaluate" / "report.html").exists()


def test_the_category_of_the_readme_is_one() -> None:
    [module] = [block for block in blocks("python") if "Category(" in block]
    names: dict[str, object] = {}
    exec(module, names)
    category = names["FRECKLES"]
    assert isinstance(category, Category)
    [setup] = blocks("ini")
    parser = configparser.ConfigParser()
    parser.read_string(setup)
    assert parser["options.entry_points"]["keyface.edits"].strip() == "freckles = keyface_freckles:FRECKLES"
    registry = Registry()
    registry.add(category)
    assert registry.select(["freckles"]) == [category]


def test_the_readme_names_files_that_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if "://" not in link:
            assert (ROOT / link).exists(), link


def test_configs_of_the_readme_are_yaml() -> None:
    for name in set(re.findall(r"configs/[\w/]+\.yaml", TEXT)):
        assert yaml.safe_load((ROOT / name).read_text()), name
