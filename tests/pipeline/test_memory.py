"""Memory of an edit does not grow with the size of its frames beyond a bound."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from keyface.video import VideoReader, VideoWriter

BOUND = 1.75 * 2**30
"""The goal is 1.5. Measured on 2 cores: 1.47, a third of it in the encoder, whose threads hold frames."""
HEIGHT, WIDTH, FRAMES = 2160, 3840, 12

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is Linux's")


def status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    (line,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name)]
    return int(line.split()[1]) * 1024


def peak_of_an_edit(video: Path, weights: Path) -> int:
    """Edit with all that is written beside; return the peak above what networks and libraries take."""
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.request.request import VideoRequest

    torch.set_num_threads(1)
    pipe = FaceEditPipeline.from_pretrained(weights)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    folder = video.parent
    pipe.run(
        VideoRequest(
            video,
            folder / "out.mp4",
            prompt="a man with glasses",
            source="a man",
            crop="centre",
            settings={"steps": 1, "interval": 6},
        )
    )
    return status("VmHWM") - before


def test_frames_of_4k_take_a_bounded_memory(weights: Path, tmp_path: Path) -> None:
    video = tmp_path / "large.mp4"
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels.repeat(40, 0).repeat(40, 1)).permute(2, 0, 1)[None]
    with VideoWriter(video, fps=25) as writer:
        for index in range(FRAMES):
            writer.write(image.roll(8 * index, dims=-1))
    words = [sys.executable, "-P", __file__, str(video), str(weights)]
    process = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0, process.stderr
    peak = int(process.stdout.split()[-1])
    assert peak < BOUND, f"{peak / 2**30:.2f} GB"
    assert peak > HEIGHT * WIDTH * 3 * 4, "a frame at least"
    assert len(VideoReader(tmp_path / "out.mp4")) == FRAMES


if __name__ == "__main__":
    print(peak_of_an_edit(*map(Path, sys.argv[1:])))
