"""`keyface edit` with the networks that keyface ships, on videos that other programs and cameras made."""

import json
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from keyface.cli.main import main
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.world import HELD_OUT
from keyface.miniature.rendering.renderer import render_images
from keyface.video import VideoReader, write_clip

FAST = ["--steps", "6", "--settings.interval", "4"]
ENOUGH = ["--steps", "20", "--settings.interval", "4"]
"""So many that the inversion returns the clip."""
SOURCE = "a photo of a young woman, no beard, brown hair, without glasses, smiling"


def elsewhere(path: Path, frames: Tensor) -> None:
    """Writes MPEG-4 part 2 at 29.97 fps with a tone in MP3, in Matroska: nothing that keyface writes."""
    rate = Fraction(30000, 1001)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        sound = container.add_stream("libmp3lame", rate=44100)
        pictures = frames.add(1).mul(127.5).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))))
        container.mux(stream.encode(None))
        seconds = len(frames) / float(rate)
        tone = np.sin(np.arange(round(44100 * seconds)) * 2 * math.pi * 440 / 44100)
        samples = av.AudioFrame.from_ndarray((tone * 8000).astype(np.int16)[None], "s16p", "mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


def moving(photo: Tensor, frames: int, size: int) -> Tensor:
    """A photograph (3, H, W) in slow motion: it turns, drifts and grows, (frames, 3, size, size)."""
    time = torch.linspace(0, 1, frames)
    angle, scale = 0.1 * torch.sin(3 * time), 1 - 0.1 * time
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), 0.05 * time], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), torch.zeros(frames)], 1),
    ]
    small = interpolate(photo[None], (size, size), mode="area").expand(frames, -1, -1, -1)
    grid = affine_grid(torch.stack(rows, 1), list(small.shape), align_corners=False)
    return grid_sample(small, grid, padding_mode="reflection", align_corners=False)


def test_a_video_made_elsewhere_keeps_frames_stamps_and_sound(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mp4"
    elsewhere(source, render_images(draw_clip(HELD_OUT + 3, 0, 9), 256))
    assert (
        main(["edit", str(source), "-o", str(output), "--source", SOURCE, "--edits", "glasses", *ENOUGH]) == 0
    )
    before, after = VideoReader(source), VideoReader(output)
    assert len(after) == len(before) == 9
    assert (after.height, after.width) == (256, 256)
    with av.open(str(source)) as first, av.open(str(output)) as second:
        stamps = [[float(frame.time) for frame in file.decode(video=0)] for file in (first, second)]
    assert stamps[1] == pytest.approx(stamps[0], abs=1e-3)
    with av.open(str(output)) as file:
        heard = sum(frame.samples for frame in file.decode(audio=0))
    assert heard == pytest.approx(44100 * 9 * 1001 / 30000, abs=2 * 1152)
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["warnings"] == []
    assert "wearing glasses" in record["prompts"]["target"]


def test_a_real_photograph_runs_to_the_end_and_is_not_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = torch.from_numpy(astronaut()[0:200, 124:324].copy()).permute(2, 0, 1).float() / 127.5 - 1
    source, output = tmp_path / "astronaut.mp4", tmp_path / "edited.mp4"
    write_clip(source, moving(photo, 6, 160), fps=12)
    assert (
        main(["edit", str(source), "-o", str(output), "--source", SOURCE, "--edits", "glasses", *FAST]) == 0
    )
    record = json.loads(output.with_suffix(".json").read_text())
    assert 10 < record["metrics"]["reconstruction_psnr"] <= record["metrics"]["vae_psnr"] + 1
    assert any("surprise" in warning for warning in record["warnings"])
    assert "does not know this face" in capsys.readouterr().err
    assert len(VideoReader(output)) == 6
