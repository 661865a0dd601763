"""One edit by several processes, as `--devices` starts them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from keyface.cli.main import main
from keyface.pipeline.devices import devices_for
from keyface.video import VideoReader

PATIENCE_SECONDS = 120.0


def words(video: Path, output: Path, weights: Path, *more: str, devices: int = 2) -> list[str]:
    """The edit of seven frames in three windows, two of which are the first part."""
    return [
        *("edit", str(video), "-o", str(output), "--weights", str(weights), "--prompt", "a man with glasses"),
        *("--source", "a man", "--crop", "centre", "--guidance", "2", "--device", "cpu"),
        *("--devices", str(devices), "--settings.interval", "1"),
        *("--settings.window", "2", "--settings.anchors", "1", *more),
    ]


def unsigned(output: Path) -> str:
    digest: str = json.loads(output.with_suffix(".json").read_text())["output"]["unsigned_sha256"]
    return digest


def test_two_processes_make_the_same_twice_also_when_they_are_killed(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once, again = tmp_path / "once.mp4", tmp_path / "again.mp4"
    assert main(words(video, once, weights, "--steps", "20")) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("edit: 9,")], (
        "two are in both"
    )
    sidecar = json.loads(once.with_suffix(".json").read_text())
    assert (len(VideoReader(once)), sidecar["metrics"]["keyframes"]) == (7, list(range(7)))

    state = tmp_path / "again.mp4.state"
    command = [sys.executable, "-P", "-m", "keyface", *words(video, again, weights, "--steps", "20")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journals = [state / name / "journal.json" for name in ("clip-1-1", "clip-1-2")]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(_steps(each) for each in journals) and time.monotonic() < deadline:
        time.sleep(0.002)
    helpers = _helpers(process.pid)
    assert len(helpers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(map(Path.exists, helpers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(Path.exists, helpers)), "they end with the process that has locked the folder"
    assert not again.exists()

    assert main(words(video, again, weights, "--steps", "20", devices=1)) == 1
    assert "parts.1 was 2 and is now None" in capsys.readouterr().err
    assert main(words(video, again, weights, "--steps", "20")) == 0
    assert "going on with the edit that was stopped" in capsys.readouterr().err
    assert unsigned(again) == unsigned(once)


def _helpers(process: int) -> list[Path]:
    """Return the folders in /proc of the processes that edit parts for another one."""
    numbers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    folders = [Path("/proc") / number for number in numbers]
    return [each for each in folders if b"spawn_main" in (each / "cmdline").read_bytes()]


def _steps(journal: Path) -> int:
    try:
        steps: int = json.loads(journal.read_text()).get("steps", 0)
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    return steps


def test_what_fails_in_one_process_is_one_line(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The U-Net is cut to few bytes, which only the helpers notice: this process has read it before."""
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.request.request import VideoRequest

    pipe = FaceEditPipeline.from_pretrained(weights, device="cpu")
    request = VideoRequest(
        video,
        tmp_path / "out.mp4",
        prompt="a man with glasses",
        source="a man",
        crop="centre",
        settings={"steps": 2, "interval": 1, "window": 2, "anchors": 1},
        devices=2,
    )
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RuntimeError, match=r"on cpu: .*weights/unet/config\.json: damaged"):
        pipe.run(request)
    assert not list(tmp_path.glob("out.mp4*")), "nothing was done, so nothing stays"


def test_wrong_numbers_of_devices_are_refused(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        (["--devices", "0"], "--devices is 0; it must be at least 1"),
        (["--cache", str(tmp_path / "cache")], "--devices and --cache do not go together"),
        (["--settings.propagation.mode", "tokenflow"], "tokenflow cannot be split"),
    ):
        assert main(words(video, tmp_path / "out.mp4", weights, *more)) == 1
        assert message in capsys.readouterr().err
    assert devices_for(torch.device("cpu"), 3) == ["cpu"] * 3
    with pytest.raises(ValueError, match="--devices is 2, and there are 1 of mps here"):
        devices_for(torch.device("mps"), 2)
