"""`keyface edit` killed for real, and what other commands are told afterwards."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from forks import Fork

from keyface.cli.main import main
from keyface.video import VideoReader

PATIENCE_SECONDS = 600.0


def command(video: Path, output: Path, weights: Path, *more: str) -> list[str]:
    words = ["edit", str(video), "-o", str(output), "--weights", str(weights), "--source", "a man"]
    return [*words, "--crop", "centre", "--settings.interval", "3", "--guidance", "2", "--steps", "30", *more]


def signal_in_the_middle(words: list[str], journal: Path, number: signal.Signals) -> Fork:
    """Starts the command in a process of its own, and signals it when it has edited for a few steps."""
    process = Fork(words)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if journal.is_file() and json.loads(journal.read_text()).get("steps", 0) >= 3:
            process.send_signal(number)
            return process
        time.sleep(0.002)
    pytest.fail(f"it ended before it could be signalled: {process.wait(0).stderr}")


def kill_in_the_middle(words: list[str], journal: Path) -> None:
    process = signal_in_the_middle(words, journal, signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL, "it ended before it could be killed"


def frames_of(path: Path) -> torch.Tensor:
    return torch.cat(list(VideoReader(path).chunks(16)))


def test_a_killed_edit_goes_on_and_no_other_edit_does(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, output, state = tmp_path / "whole.mp4", tmp_path / "out.mp4", tmp_path / "out.mp4.state"
    assert main(command(video, whole, weights, "--prompt", "a man with glasses")) == 0
    assert not Path(f"{whole}.state").exists()
    assert "temporary files: " in capsys.readouterr().err

    kill_in_the_middle(
        command(video, output, weights, "--prompt", "a man with glasses"), state / "clip-1" / "journal.json"
    )
    assert not output.exists()
    done = json.loads((state / "clip-1" / "journal.json").read_text())["steps"]
    assert 3 <= done < 30

    assert main(command(video, output, weights, "--prompt", "a woman")) == 1
    assert "clips.1.prompts.target was 'a man with glasses' and is now 'a woman'" in capsys.readouterr().err
    other = tmp_path / "other.mp4"
    other.write_bytes(whole.read_bytes())
    assert main(command(other, output, weights, "--prompt", "a man with glasses")) == 1
    assert "input.sha256 was" in capsys.readouterr().err
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    trained = file.read_bytes()
    file.write_bytes(trained[:-4] + bytes(4))
    assert main(command(video, output, weights, "--prompt", "a man with glasses")) == 1
    assert "diffusion_pytorch_model.safetensors was" in capsys.readouterr().err
    file.write_bytes(trained)
    assert state.is_dir(), "what was refused has changed nothing"

    assert main(command(video, output, weights, "--prompt", "a man with glasses", "--resume")) == 0
    assert "going on with the edit that was stopped" in capsys.readouterr().err
    assert torch.equal(frames_of(output), frames_of(whole))
    assert not state.exists()
    assert not list(tmp_path.glob("*.part*"))


def test_restart_and_resume_say_what_they_want(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert main(command(video, output, weights, "--prompt", "a man with glasses", "--resume")) == 1
    assert "no edit of" in capsys.readouterr().err
    assert (
        main(command(video, output, weights, "--prompt", "a man with glasses", "--resume", "--restart")) == 1
    )
    assert "give one of the two" in capsys.readouterr().err
    (tmp_path / "out.mp4.state").mkdir()
    (tmp_path / "out.mp4.state" / "mine").touch()
    assert main(command(video, output, weights, "--prompt", "a man with glasses", "--restart")) == 1
    assert "not the folder of a stopped edit" in capsys.readouterr().err


def test_a_running_edit_keeps_its_folder_and_does_not_go_on_in_another(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, state = tmp_path / "out.mp4", tmp_path / "out.mp4.state"
    words = command(video, output, weights, "--prompt", "a man with glasses")
    process = signal_in_the_middle(words, state / "clip-1" / "journal.json", signal.SIGSTOP)
    try:
        journal = (state / "clip-1" / "journal.json").read_bytes()
        assert main([*words, "--restart"]) == 1
        said = capsys.readouterr().err.splitlines()
        assert said == [
            f"keyface: error: {state}: another process is at work on this edit; wait until it ends"
        ]
        assert (state / "clip-1" / "journal.json").read_bytes() == journal
        shutil.rmtree(state)
        shutil.copytree(weights / "unet", state)
    finally:
        process.send_signal(signal.SIGCONT)
    ended = process.wait(PATIENCE_SECONDS)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert said[-1].startswith(
        f"keyface: error: edit: {state}: was removed or replaced while this edit worked in it"
    )
    assert len(list(state.iterdir())) == 2, "what is there now is somebody else's"
    assert not list(tmp_path.glob("out*.mp4"))
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_what_resume_needs_and_nothing_else(
    number: signal.Signals, video: Path, weights: Path, tmp_path: Path
) -> None:
    output, state = tmp_path / "out.mp4", tmp_path / "out.mp4.state"
    before = {path.name for path in tmp_path.iterdir()}
    words = command(video, output, weights, "--prompt", "a man with glasses")
    ended = signal_in_the_middle(words, state / "clip-1" / "journal.json", number).wait(PATIENCE_SECONDS)
    assert ended.returncode == 128 + number
    assert ended.stderr.splitlines()[-1] == f"keyface: stopped by {number.name}"
    assert "Traceback" not in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} - before == {state.name}
    assert not list(state.rglob("*.part"))
