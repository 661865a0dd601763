"""What a shell offers after the Tab key, asked in the shell itself."""

import subprocess
from pathlib import Path

import pytest

from keyface.cli.completion import TRAINING_OPTIONS
from keyface.cli.main import main

ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
function_of=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function_of" "$1" "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("keyface ed", {"edit"}),
        ("lightning fi", {"fit"}),
        ("keyface shards re", {"render"}),
        ("keyface benchmark tr", {"train"}),
        ("keyface edit in.mp4 --max", {"--max-seconds"}),
        ("keyface edit in.mp4 --settings.propagation.l", {"--settings.propagation.locality"}),
        ("keyface benchmark --mo", {"--modes"}),
        ("keyface benchmark train --dt", {"--dtype"}),
        ("keyface fit --ck", {"--ckpt_path"}),
        ("keyface edit in.mp4 --on-corrupt ", {"error", "hold"}),
        ("keyface edit in.mp4 --settings.injection.mode ", {"qk", "kv", "output"}),
        ("keyface edit in.mp4 --settings.injection.enabled t", {"true"}),
        ("keyface completion z", {"zsh"}),
        ("keyface edit cl", {"clip.mp4"}),
        ("keyface fit -c my", {"my.yaml"}),
    ],
)
def test_bash_completes(
    line: str, offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "completion"
    file.write_text(script("bash", capsys))
    for name in ("clip.mp4", "my.yaml"):
        (tmp_path / name).touch()
    answer = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", file, *line.split(" ")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=True,
    )
    assert set(answer.stdout.split()) == offered, answer.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_with_everything(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = script(shell, capsys)
    for word in ("render", "settings.injection.mode", "qk", "on-corrupt", "hold", "lightning"):
        assert word in said, word


def test_options_offered_for_trainings_are_lightnings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    said = capsys.readouterr().out
    assert all(f"{option} " in said or f"{option}[" in said for option in TRAINING_OPTIONS)
