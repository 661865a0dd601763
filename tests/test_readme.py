"""README and docs/ as a newcomer follows them: every block in order, in a folder with what the text says.

Copies are smaller by options alone (`SMALLER`). What the text says the reader brings is made here under the
names that the text gives (`BROUGHT`); nothing else is.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyface.celeba import CELEBA_ATTRIBUTES
from keyface.diffusion.backbone import Backbone
from keyface.weights import catalogue

ROOT = Path(__file__).parents[1]
PAGES = (
    "README",
    "footage",
    "batch",
    "marking",
    "categories",
    "training",
    "dashboards",
    "evaluate",
    "study",
    "benchmark",
    "results",
    "python",
)
SIDE = 32

SHORT_FIT = (
    "--trainer.max_steps 1 --trainer.val_check_interval 1 --trainer.limit_val_batches 1 "
    "--data.init_args.batch_size 2 --trainer.enable_progress_bar false --trainer.enable_model_summary false"
)
CPU = "--accelerator cpu --devices 1 --workers 0"
FEW_CLIPS = "--clips 1 --gallery 1 --frames 2 --steps 2"

SMALLER = {
    "keyface miniature clip": "--seconds 0.125 --fps 16",
    "keyface miniature measure": "--faces 4 --prompts 2 --clips 2",
    # Stages follow each other in tests/miniature_training/test_run.py.
    "keyface miniature train": "--minutes 0.05 --stages face_finder --device cpu",
    "keyface edit": "--steps 2",
    # The page prints a list of clips; the reader's own stand behind these names.
    "keyface batch list.csv": "--steps 2 --finder miniature --source 'a photo of a man'",
    # Rendered people stand in for the reader's own, whose age the miniature's networks do not guess.
    "keyface edit talk.mp4": "--finder miniature --source 'a photo of a man'",
    "keyface faces": "--finder miniature",
    "keyface plugins try": "--steps 2 --faces 1 --frames 1",
    "keyface shards render": "--count 24 --samples-per-shard 12",
    "keyface shards celeba-hq": (
        f"--landmarks CelebAMask-HQ/landmarks.txt --count 8 --size {SIDE} --workers 1"
    ),
    "keyface prepare": (
        "--landmarks CelebAMask-HQ/landmarks.txt --captioner miniature "
        f"--backbone models/stable-diffusion-2-1-base --count 8 --size {SIDE} {CPU} --steps 4 --levels 2"
    ),
    "keyface caption": CPU,
    "keyface shards invert": f"{CPU} --steps 4 --levels 2",
    "keyface evaluate --protocol miniature": FEW_CLIPS,
    "keyface evaluate --protocol goals": FEW_CLIPS,
    # The file of settings says how many steps, up to 50; this is a tenth of them.
    "keyface evaluate --protocol goals --variants solver": "--limit 1 --strength 0.1",
    "keyface evaluate --protocol multi_edit": FEW_CLIPS,
    "keyface evaluate --protocol runs": "--limit 1",
    "keyface evaluate --protocol runs/goals": "--steps 2",
    "keyface evaluate --protocol runs/evaluate/clips/protocol.json --variants": "--steps 2",
    "keyface evaluate --protocol runs/evaluate/clips/protocol.json --limit": "--steps 2",
    "keyface benchmark train": "--dry-run --branches identity --tunings lora",
    "keyface benchmark data": "--samples 40 --size 32 --workers 0 --repeats 1",
    "keyface benchmark --": "--dry-run --frames 4 --modes latent --repeats 1",
    "lightning fit -c configs/miniature": f"{SHORT_FIT} --trainer.callbacks null",
    # Two videos are edited at validation; the first page that shows it does it.
    "lightning fit -c configs/miniature/identity.yaml -c configs/wandb.yaml": SHORT_FIT,
    "lightning fit -c configs/miniature/identity.yaml --trainer.max_steps 300": (
        f"{SHORT_FIT} --trainer.callbacks null --trainer.max_steps 2"
    ),
    # Sizes and device, and frozen networks whose files have one published hash: the miniature's stand in.
    "lightning fit -c configs/base.yaml": (
        f"{SHORT_FIT} --trainer.accelerator cpu --trainer.devices 1 --trainer.strategy auto "
        f"--trainer.precision 32-true --data.init_args.image_size {SIDE} --data.init_args.workers 0 "
        "--data.init_args.val_fraction 0.5 --model.init_args.noisy_input.steps 4 "
        "--model.init_args.evaluators miniature --trainer.callbacks.edits [glasses,smile] "
        "--trainer.callbacks.recognizers [miniature] --trainer.callbacks.image_text miniature "
        "--trainer.callbacks.frames 2 --trainer.callbacks.settings.steps 2"
    ),
    "lightning fit -c configs/base.yaml -c configs/identity.yaml": (
        "--model.init_args.identity_network miniature"
    ),
    "lightning fit -c configs/base.yaml -c configs/direction.yaml": (
        "--model.init_args.encoder miniature --model.init_args.generation_steps 2"
    ),
}
"""What is put behind a command, by how it begins, from the shortest beginning on; the last value counts."""

NOT_RUN = {
    "git clone": "the reader's clone is this checkout",
    "cd ": "likewise",
    "source .venv/bin/activate": "the tests run in the environment already",
    "make ": "the Makefile has the target; `make demo` runs in tests/commands/miniature/test_demo.py",
    "bash scripts/": "wheels from the network and a GPU; tests/test_scripts.py tries the rest",
    "keyface study serve": "it serves until Ctrl-C; tests/study/test_browser.py opens the page",
    "keyface weights get": "gigabytes from the network; the names are looked up in the catalogue",
}
"""What is looked at and not run, and why."""

ELSEWHERE = {
    "README": {
        r"lightning fit .* -c configs/wandb.yaml|keyface dashboard": "docs/dashboards.md",
        r"keyface shards render|lightning fit -c configs/miniature": "docs/training.md",
    },
    "training": {
        r"keyface prepare": "README.md",
        r"lightning fit -c configs/base|.*talk.mp4": "README.md",
    },
    # There with the same dry runs, each of which starts a process a measurement.
    "benchmark": {r"keyface benchmark --": "tests/commands/benchmark/test_edits.py"},
    # It needs people's answers.
    "study": {r"keyface study report": "tests/study/test_report.py"},
    "results": {
        r"keyface benchmark --": "tests/commands/benchmark/test_edits.py",
        r"keyface benchmark (train|data)": "docs/benchmark.md",
        r".*--variants guidance": "docs/evaluate.md",
        r".*--variants ablation": "tests/commands/evaluation/test_ablate.py",
        r".*--sweep": "docs/evaluate.md",
    },
}
"""Page → what runs elsewhere already, and where; tests/test_docs.py looks at the options of each."""


def celeba_mask_hq(folder: Path) -> None:
    """CelebAMask-HQ as it is published: 12 pictures with labels and masks, and CelebA's landmarks file."""
    images = folder / "CelebA-HQ-img"
    images.mkdir(parents=True)
    labels = ["12", " ".join(CELEBA_ATTRIBUTES)]
    marks = ["12", "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y a b c d"]
    ramp = np.linspace(0, 255, 2 * SIDE)
    for number in range(12):
        pixels = np.stack(np.broadcast_arrays(number * 20.0, ramp[None], ramp[:, None]), axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"{number}.jpg")
        values = ["1" if (name == "Male") == bool(number % 2) else "-1" for name in CELEBA_ATTRIBUTES]
        labels.append(f"{number}.jpg  {' '.join(values)}")
        marks.append(f"{number}.jpg 20 24 43 24 32 36 24 47 41 47")
        mask = folder / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_skin.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), (255, 255, 255)).save(mask)
    (folder / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(labels) + "\n")
    (folder / "landmarks.txt").write_text("\n".join(marks) + "\n")


@pytest.fixture
def brought(folder_backbone: Backbone, blip2_folder: Path) -> dict[str, Callable[[Path], object]]:
    """What the text says the reader brings, by the names that it gives, and what stands in.

    =================================  =========================================================
    models/stable-diffusion-2-1-base   tiny networks of the same classes, saved by diffusers
    models/blip2                       a tiny BLIP-2 of the same class, saved by transformers
    CelebAMask-HQ                      twelve pictures of its file formats
    talk.mp4, anna.mp4                 a rendered clip
    list.csv                           a list of it
    =================================  =========================================================
    """

    def stable_diffusion(folder: Path) -> None:
        for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
            getattr(folder_backbone, part).save_pretrained(folder / part)

    def rendered(path: Path) -> None:
        keyface("miniature", "clip", "-o", str(path), "--seconds", "0.125", "--fps", "16")

    return {
        "models/stable-diffusion-2-1-base": stable_diffusion,
        "models/blip2": lambda folder: shutil.copytree(blip2_folder, folder),
        "CelebAMask-HQ": celeba_mask_hq,
        "talk.mp4": rendered,
        "anna.mp4": rendered,
        "list.csv": lambda path: path.write_text("video\nanna.mp4\n"),
    }


def page_text(page: str) -> str:
    return (ROOT / ("README.md" if page == "README" else f"docs/{page}.md")).read_text()


def keyface(*words: str) -> int:
    """Run the console script's function in this process, where torch is loaded already."""
    [script] = entry_points(group="console_scripts", name="keyface")
    return int(script.load()(list(words)))


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each code block that is something to do."""
    for language, content in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        if language != "text":
            yield language, content


def lines(console: str) -> list[str]:
    joined = console.replace("\\\n", " ").splitlines()
    return [re.split(r"\s+#\s", line)[0].strip() for line in joined if line.strip()]


def smaller(command: str) -> list[str]:
    words = shlex.split(command)
    for start in sorted((start for start in SMALLER if command.startswith(start)), key=len):
        words += shlex.split(SMALLER[start])
    return words


class Newcomer:
    """Follows one page, in one folder.

    Args:
        folder: The clone: of the repository it holds the configs.
        page: Name of the page.
    """

    def __init__(self, folder: Path, page: str) -> None:
        self.folder, self.page = folder, page
        self.installed = folder / "site-packages"
        self.ran: list[str] = []
        shutil.copytree(ROOT / "configs", folder / "configs")

    def follow(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        for language, content in blocks(text):
            named = re.match(r"# ([\w./-]+\.\w+)\n", content)
            if named:  # a file to be written, as printed
                path = self.folder / named[1]
                if path.exists():  # what a command wrote is printed as it is
                    assert path.read_text() == content.split("\n", 1)[1], path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            elif language == "python" and "edits.add" in content:  # not into this process's registry
                self.subprocess([sys.executable, "-P", "-c", content])
            elif language == "python":
                exec(compile(content, f"{self.page}.md", "exec"), {"__name__": "__main__"})
            elif language == "yaml":  # a part of a config
                (self.folder / "part.yaml").write_text(content)
                self.parses("fit", "-c", "configs/miniature/identity.yaml", "-c", "part.yaml")
            else:
                assert language == "console", f"{self.page}: a block of {language}"
                for command in lines(content):
                    self.run(command, capsys)

    def parses(self, *words: str) -> None:
        with pytest.raises(SystemExit) as ended:
            keyface(*words, "--print_config")
        assert ended.value.code in (0, None)

    def run(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        program, *words = smaller(command)
        if any(command.startswith(start) for start in NOT_RUN):
            check_not_run(command)
        elif elsewhere := [
            file for start, file in ELSEWHERE.get(self.page, {}).items() if re.match(start, command)
        ]:
            assert (ROOT / elsewhere[0]).exists()
            return
        elif program == "pip":
            offline = ("--no-index", "--no-deps", "--no-build-isolation", "--target", str(self.installed))
            self.subprocess([sys.executable, "-P", "-m", "pip", *words, *offline])
        elif self.installed.exists():  # a new process, since this one knows its plugins already
            said = self.subprocess([str(Path(sys.executable).with_name(program)), *words])
            assert "dimples" in said, command
        else:
            assert program in ("keyface", "lightning"), command
            capsys.readouterr()
            assert keyface(*words) == 0, f"{command}\n{capsys.readouterr().err}"
        self.ran.append(command)

    def subprocess(self, words: list[str]) -> str:
        environment = os.environ | {"PYTHONPATH": str(self.installed)}
        ended = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
        assert ended.returncode == 0, f"{words}\n{ended.stderr}"
        return ended.stdout


def check_not_run(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    words = command.split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), command
    elif words[0] == "bash":
        assert (ROOT / words[1]).is_file(), command
    elif words[0] == "source":
        assert "BIN := .venv/bin" in makefile
    elif words[:3] == ["keyface", "weights", "get"]:
        assert set(words[3:]) <= set(catalogue()), command


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_works(
    page: str,
    brought: dict[str, Callable[[Path], object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = page_text(page)
    folder = tmp_path / "keyface"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("KEYFACE_WEIGHTS", raising=False)
    for name, make in brought.items():
        if name in text or ("keyface caption" in text and name == "models/blip2"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            make(folder / name)
    newcomer = Newcomer(folder, page)
    newcomer.follow(text, capsys)
    assert newcomer.ran
    for command in newcomer.ran:
        if command.startswith("keyface edit") and "--preview" not in command:
            output = Path(re.split(r"\s-o\s", command)[1].split()[0])
            assert output.exists(), command
            assert output.with_suffix(".json").exists(), command


def test_every_page_with_commands_is_followed() -> None:
    with_commands = {path.stem for path in (ROOT / "docs").glob("*.md") if "```console" in path.read_text()}
    assert with_commands == set(PAGES) - {"README"}
