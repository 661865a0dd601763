"""Real little videos: a coloured gradient whose brightness tells the frame's number."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.video import write_clip

MakeVideo = Callable[..., Path]


@pytest.fixture
def make_video() -> MakeVideo:
    """Frame i is grey of level -0.8 + 0.05 i, red on its left quarter and blue on its right one."""

    def make(path: Path, frames: int = 12, fps: int = 10, height: int = 64, width: int = 64) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = torch.arange(frames).mul(0.05).sub(0.8)[:, None, None, None]
        clip = levels.expand(frames, 3, height, width).clone()
        clip[:, 0, :, : width // 4] = 1.0
        clip[:, 2, :, -(width // 4) :] = 1.0
        write_clip(path, clip, fps)
        return path

    return make


@pytest.fixture
def spec() -> Callable[..., ClipSpec]:
    """A clip of `a.mp4`; keyword arguments replace its fields."""

    def make(**changes: object) -> ClipSpec:
        fields: dict[str, object] = {
            "key": "a", "video": "a.mp4", "sha256": None, "start": 0.0, "frames": 4, "fps": 10.0, "size": 32,
            "category": "glasses", "source": "a photo", "target": "a photo, glasses", "identity": "anna",
            "box": None,
        }  # fmt: skip
        return ClipSpec(**(fields | changes))  # type: ignore[arg-type]

    return make
