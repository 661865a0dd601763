"""scripts/: what can be tried without a GPU and without minutes of training."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "train_miniature_gpu.sh"


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *words], cwd=folder, capture_output=True, text=True)


def test_scripts_are_shell() -> None:
    for script in (ROOT / "scripts").glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_without_wheels_a_benchmark_says_what_to_do(tmp_path: Path) -> None:
    """A copy, since a checkout may have the wheels."""
    copied = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", copied)
    words = ["bash", str(copied / "benchmark_gpu.sh")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"no wheels in {tmp_path}/.whl" in done.stderr
    assert not (tmp_path / "gpu_out").exists()


def test_each_wheel_has_the_version_of_the_tests() -> None:
    names = re.search(r'names="([^"]*)"', (ROOT / "scripts" / "bare_machine.sh").read_text())
    assert names
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert set(names[1].split()) <= set(pinned)


def test_parts_are_put_together_again_and_checked(tmp_path: Path) -> None:
    weights = tmp_path / "made" / "weights" / "clip"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (tmp_path / "made" / "train.json").write_text("{}")
    parts = tmp_path / "parts"
    parts.mkdir()
    # As the script packs, with smaller parts.
    packing = (
        "tar -cf - -C made train.json weights | split -b 50k -d - parts/weights.tar. && "
        "cd parts && sha256sum weights.tar.?? > SHA256SUMS"
    )
    subprocess.run(["bash", "-c", packing], cwd=tmp_path, check=True)
    assert len(list(parts.glob("weights.tar.*"))) == 3
    assert run("join", "parts", "whole", folder=tmp_path).returncode == 0
    joined = tmp_path / "whole" / "weights" / "clip" / "model.safetensors"
    assert joined.read_bytes() == (weights / "model.safetensors").read_bytes()
    with (parts / "weights.tar.01").open("r+b") as file:
        file.write(b"\xff\x00")
    damaged = run("join", "parts", "other", folder=tmp_path)
    assert damaged.returncode != 0
    assert not (tmp_path / "other").exists()
    assert "FROM holds weights.tar.00" in run("join", "none", "other", folder=tmp_path).stderr


CODE = """\
def half(number: int = 4, *others: int) -> float:
    if number < 0:
        raise ValueError("too small, by %d" % number)
    return max(number / 2, *others) if others else float(number, )
"""


def test_faults_of_a_module_leave_messages_and_annotations(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(CODE)
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from mutants import Path, faults_of\n"
        f"for each in faults_of(Path({str(tmp_path / 'module.py')!r})):\n"
        "    compile(each.code, 'module.py', 'exec')\n"
        "    print(each.lines, each.change.splitlines()[-1])\n"
    )
    words = [sys.executable, "-c", program]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    given = "    return max(number / 2, *others) if others else float(number, )"
    changed = [
        given.replace("number / 2", "number * 2"),
        given.replace("/ 2", "/ 3"),
        given.replace("number / 2,", "None,"),
        given.replace("number / 2, ", ""),
        given.replace(", *others", ", "),
        given.replace("float(number, )", "float(None, )"),
        given.replace("if others", "if (others) and False"),
        given.replace("if others", "if (others) or True"),
    ]
    expected = {
        "(1, 1) + def half(number: int = 5, *others: int) -> float:",
        "(2, 2) +     if number <= 0:",
        "(2, 2) +     if number < 1:",
        *(f"(4, 4) + {line}" for line in changed),
    }
    assert {line.replace("((number * 2))", "number * 2") for line in said} == expected
