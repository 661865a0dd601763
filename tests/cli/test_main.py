"""The command line, as a user meets it."""

import errno
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
import yaml

import keyface
from keyface.cli.commands import COMMANDS, TRAINING, all_commands
from keyface.cli.main import main
from keyface.cli.options import option_list
from keyface.cli.parsing.parser import command_parser
from keyface.cli.stopping import Stopped, stopping
from keyface.diffusion.device import choose_device
from keyface.ending import end_as
from keyface.progress import stages
from keyface.video import VideoReader

SCRIPTS = Path(sysconfig.get_path("scripts"))


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
    targets = {command.target for _, command in all_commands()}
    code = (
        "import sys; from keyface.cli.commands import Command\n"
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


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_gets_nothing_and_is_no_error(closed: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    words = f"exec {SCRIPTS / 'keyface'} miniature clip -o {clip} --seconds 0.1 {closed}>&-"
    result = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result
    assert len(VideoReader(clip)) == 2
    assert bool(result.stdout) == (closed == "2")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_help_of_a_command_documents_every_argument(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = command_parser(words)
    undocumented = [action.dest for action in parser._actions if not action.help]
    assert not undocumented
    with pytest.raises(SystemExit) as exit_info:
        main([*words, "--help"])
    assert exit_info.value.code == 0
    assert f"usage: keyface {' '.join(words)} " in capsys.readouterr().out


def test_help_keeps_paragraphs_and_examples() -> None:
    text = command_parser(["evaluate"]).format_help()
    assert "write a\nreport.\n\nFirst make" in text
    example = "    keyface evaluate --protocol celebv-hq --videos CelebV-HQ -o runs/celebv\n"
    assert f"then score:\n\n{example}" in text


def test_seed_and_the_like_stand_below_edit_only_where_something_is_edited() -> None:
    def heading(words: list[str], option: str) -> str:
        text = command_parser(words).format_help()
        return re.findall(r"^(\w+:)$", text.partition(f"\n  {option} ")[0], re.M)[-1]

    assert heading(["edit"], "--seed") == "Edit:"
    assert heading(["edit"], "--identity") == "Networks:"
    assert heading(["shards", "render"], "--seed") == "options:"
    assert heading(["miniature", "clip"], "--identity") == "options:"


def test_options_are_the_frozen_ones() -> None:
    """A new option is a decision: regenerate the list with `.venv/bin/python -P -m keyface.cli.options`."""
    assert option_list() == Path(__file__).with_name("options.txt").read_text()


@pytest.mark.parametrize("words", [["-V"], ["--version"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"keyface {keyface.__version__}\n"


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "edit" in capsys.readouterr().out


def test_python_m_keyface_tells_the_version() -> None:
    command = [sys.executable, "-P", "-m", "keyface", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said == f"keyface {keyface.__version__}\n"


def test_python_m_keyface_is_the_console_script(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "keyface", "shards", "verify", "nowhere"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("keyface: error: nowhere")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["edti"], "no such command: edti (did you mean 'edit'"),
        (["shards", "rendr"], "no such command: rendr (did you mean 'render'?)"),
        (["shards"], "say which: render, celeba-hq"),
        (["doctor", "--jso"], "no such option: --jso (did you mean '--json'?)"),
        (["weights", "get", "arcface", "--jsn"], "no such option: --jsn (did you mean '--json'?)"),
        (["benchmark", "train", "--brnches", "x"], "no such option: --brnches (did you mean '--branches'?)"),
        (["edit", "a.mp4", "--settings.stesp", "3"], "(did you mean '--settings.steps'"),
        (["export", "run"], "missing: -o/--output"),
        (["edit", "-o", "out.mp4", "--edits", "beard"], "missing: VIDEO"),
        (["edit", "in.mp4", "-o", "out.mp4", "--steps", "x"], "--steps is 'x'; it must be a whole number"),
        (["edit", "in.mp4", "-o", "out.mp4", "--on-corrupt", "x"], "it must be one of error, hold"),
        (["edit", "in.mp4", "more.mp4", "-o", "out.mp4"], "too many words: more.mp4"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keyface: error: ")
    assert said in line


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("banana", "--device banana: cannot compute there; devices here: cpu"),
        ("meta", "--device meta: cannot compute there; devices here: cpu"),
        pytest.param(
            "cuda",
            "--device cuda: cannot compute there; devices here: cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_device_that_is_not_here_is_one_line(
    device: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", "in.mp4", "-o", str(tmp_path / "out.mp4"), "--edits", "beard", "--device", device]
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."), "out of memory: CUDA"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: 9"), "out of memory: [enforce"),
        (MemoryError(), "out of memory"),
        (FloatingPointError("the loss is nan at step 3"), "the loss is nan at step 3"),
        (RuntimeError("two\nlines"), "two lines"),
        (
            AttributeError("'list' object has no 'get'"),
            "doctor: AttributeError: 'list' object has no 'get'; ",
        ),
        (TypeError(), "doctor: TypeError: ; this is a fault of keyface, KEYFACE_DEBUG=1 shows where"),
        (AssertionError(), "this is a fault of keyface"),
        (OSError(errno.ENOSPC, "No space left on device", "a.mp4"), "a.mp4: no space is left there; make"),
        (ValueError(f"a\x1b[31m.mp4: {'1' * 5000} is too much"), "a\\x1b[31m.mp4: " + "1" * 40 + "… is too"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_while_computing_is_one_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr("keyface.commands.setup.doctor.doctor", failing)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.startswith("keyface: error: ")
    monkeypatch.setenv("KEYFACE_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["doctor"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cpu_in_place_of_a_gpu_is_warned_of_or_with_strict_device_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", "in.mp4", "-o", str(tmp_path / "o.mp4"), "--edits", "beard"]
    assert main([*words, "--strict-device"]) == 1
    assert "--strict-device: there is no NVIDIA GPU here; leave it out" in capsys.readouterr().err
    assert main([*words, "--strict-device", "--device", "cpu"]) == 1
    assert "in.mp4: no such video" in capsys.readouterr().err, "who names the CPU gets it"
    driver = tmp_path / "version"
    driver.write_text("NVRM version")
    monkeypatch.setattr("keyface.diffusion.device.DRIVER", driver)
    with pytest.warns(UserWarning, match="cannot use the GPU that is here.*computing on the CPU") as found:
        chosen = [choose_device(None) for _ in range(3)]
    assert chosen == [torch.device("cpu")] * 3
    assert len(found) == 1, "once"
    assert main([*words, "--strict-device"]) == 1
    assert "`keyface doctor` says why" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["privateuseone", "hpu", "", "xla:0", "cuda:-1", "cpu,cuda"])
def test_words_that_are_no_device(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "in.mp4", "-o", "o.mp4", "--edits", "beard", f"--device={device}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--device {device}: cannot compute there; devices here: cpu" in line


def test_an_error_names_the_stage_at_which_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        with stages({"find": 1.0, "invert": 1.0}) as show:
            show("find", 5, 5)
            show("invert", 0, 5)
            raise ValueError("clip.mp4: damaged")

    monkeypatch.setattr("keyface.commands.setup.doctor.doctor", failing)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "keyface: error: invert: clip.mp4: damaged"


def test_ctrl_c_has_its_status_where_lightning_ends_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr("keyface.commands.setup.doctor.doctor", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "keyface: interrupted\n"


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 0), (130, 130), (143, 143)])
def test_a_command_ends_as_its_part_that_a_signal_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, ends: int
) -> None:
    """As `keyface miniature train` and `demo` do with their fits, which have told it."""
    monkeypatch.setattr("keyface.commands.setup.doctor.doctor", lambda: end_as(status))
    assert main(["doctor"]) == ends
    assert capsys.readouterr().err == ""


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped), stopping() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert (stop.received, stop.status) == (signal.SIGHUP, 129)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_inside_another_shares_its_signals() -> None:
    """`keyface caption` runs `lightning predict`: stopped by SIGTERM there, it ended with Ctrl-C's 130."""
    with stopping() as outer, stopping() as inner:
        assert inner is outer


def test_a_fit_ends_after_the_batch_by_its_own_handler() -> None:
    taken = []
    with stopping() as stop:
        signal.signal(signal.SIGTERM, lambda number, frame: (taken.append(number), stop(number, frame))[0])
        os.kill(os.getpid(), signal.SIGHUP)
    assert taken == [signal.SIGTERM]
    assert stop.received == signal.SIGHUP


def test_libraries_are_quiet_before_they_are_imported() -> None:
    code = "from keyface.cli.main import main; main([]); import transformers, diffusers.utils.logging as d;"
    code += "print(transformers.logging.get_verbosity(), d.get_verbosity())"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_VERBOSITY")}
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.stdout.splitlines()[-1] == "40 40", "both only tell errors"


def test_interruption_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("keyface.cli.main.run_command", interrupted)
    assert main(["edit"]) == 130
    assert capsys.readouterr().err == "keyface: interrupted\n"


def test_tracebacks_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFACE_DEBUG", "1")
    with pytest.raises(ValueError, match="one of the two"):
        main(["edit", "in.mp4", "-o", "out.mp4"])


@pytest.mark.parametrize("command", ["edit", "evaluate", "benchmark"])
def test_help_tells_the_defaults_that_take_effect(command: str) -> None:
    weights = Path(keyface.__file__).parent / "miniature" / "weights"
    values = {}
    for network in ("base", "direction"):
        values |= yaml.safe_load((weights / network / "edit.yaml").read_text())
    said = " ".join(command_parser([command]).format_help().split())
    for name, own, without in (
        ("steps N", values["steps"], 50),
        ("guidance_scale X", values["guidance_scale"], 7.5),
        ("strength X", values["strength"], 1.0),
        ("injection.until X", values["injection"]["until"], 0.5),
    ):
        _, _, text = said.partition(f"--settings.{name} ")
        default = text.partition(" --settings.")[0].rpartition(" (default: ")[2]
        assert default.startswith(f"{own}, by the miniature's edit.yaml; {without} without one)"), name
    assert "Frames that a keyframe stands for. (default: 8)" in said, "of which the file says nothing"
