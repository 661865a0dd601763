"""The benchmark's parts; the command itself is in tests/commands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from keyface.benchmark.comparison import known_modes
from keyface.benchmark.memory import peak_bytes, reset_peak
from keyface.benchmark.plot import plot
from keyface.benchmark.raw import Pattern, RawFrames, RawSink
from keyface.benchmark.request import Request
from keyface.benchmark.runner import STAGES, Cell, run_child
from keyface.benchmark.sd21 import build_text_encoder, build_unet, build_vae
from keyface.editing.settings import EditSettings, Prompts

REQUEST = Request(
    scale="miniature",
    shrunk=False,
    settings=EditSettings(steps=2),
    prompts=Prompts("a face", "a face with glasses"),
    frames=4,
    size=64,
    clip=Path("clip"),
    edited=None,
    device="cpu",
)


def test_requests_survive_their_way_to_the_process() -> None:
    for mode in known_modes().values():
        request = replace(REQUEST, settings=mode.apply(REQUEST.settings))
        assert Request.from_json(request.to_json()) == request


def test_shapes_are_stable_diffusions() -> None:
    """Parameters of stable-diffusion-2-1-base as its files have them."""
    with torch.device("meta"):
        counts = [
            sum(each.numel() for each in build().parameters())
            for build in (build_unet, build_vae, build_text_encoder)
        ]
    assert counts == [865_910_724, 83_653_863, 340_387_840]


def test_raw_clips_are_read_as_they_were_written(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (5, 3, 8, 8)).float() / 127.5 - 1.0
    with RawSink(tmp_path / "clip") as sink:
        sink(frames[:2])
        sink(frames[2:])
    raw = RawFrames(tmp_path / "clip", 5, 8)
    assert [len(chunk) for chunk in raw.chunks(2)] == [2, 2, 1]
    torch.testing.assert_close(raw.read(), frames)
    assert torch.equal(torch.cat(list(Pattern(5, 8).chunks(2))), torch.cat(list(Pattern(5, 8).chunks(5))))


def test_the_peak_is_that_since_the_reset() -> None:
    size = 200 * 2**20
    torch.ones(size, dtype=torch.uint8)
    before = peak_bytes()
    if not reset_peak():
        pytest.skip("this system cannot reset a process' peak")
    assert peak_bytes() < before - size // 2
    torch.ones(size, dtype=torch.uint8)
    assert peak_bytes() > before - size // 2


def measured(seconds: float) -> dict[str, object]:
    stages = {f"seconds_{stage}": seconds / 5 for stage in STAGES}
    return {
        "seconds_cpu": seconds,
        "seconds_wall": 2 * seconds,
        **stages,
        "peak_mb": 100.0,
        "peak_gpu_mb": None,
        "disk_mb": 1.0,
        "device": "cpu",
    }


def test_rows_hold_medians_and_a_plot_is_drawn(tmp_path: Path) -> None:
    rows = []
    for frames in (4, 8):
        cell = Cell("latent", replace(REQUEST, frames=frames))
        cell.runs += [measured(seconds) for seconds in (9.0, 1.0, 2.0)]
        rows.append(cell.row({"identity_distance": 0.5, "edit_success": None, "temporal_loss": None}))
    assert rows[0] | {"seconds_cpu": 2.0, "seconds_wall": 4.0, "repeats": 3, "frames": 4} == rows[0]
    assert rows[0]["peak_gpu_mb"] is None
    json.dumps(rows)
    plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_a_measurement_that_fails_says_why(tmp_path: Path) -> None:
    request = replace(REQUEST, clip=tmp_path / "missing")
    with pytest.raises(ValueError, match=r"ended with status 1: .*missing"):
        run_child("keyface.benchmark.child", request.to_json(), tmp_path / "run")
