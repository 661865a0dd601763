"""From a video file to a video file: how often the clip is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.pipeline import request as request_module
from keyface.pipeline.companions import Familiarity
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.video import reader as reader_module


def test_the_clip_is_decoded_four_times_and_hashed_once(
    weights: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, hashed, looked = 0, [], []
    decode, sha256 = reader_module.decode, request_module.sha256

    def counting(*arguments: Any) -> Iterator[Any]:
        nonlocal decoded
        for each in decode(*arguments):
            decoded += 1
            yield each

    def noting(path: Path) -> str:
        hashed.append(path)
        return sha256(path)

    def captioner(frames: Tensor) -> str:
        looked.append(len(frames))
        return "a photo of a man"

    def surprise(backbone: Backbone, frames: Tensor) -> Tensor:
        looked.append(len(frames))
        return frames.mean((1, 2, 3)) * 0 + 9.0

    monkeypatch.setattr(reader_module, "decode", counting)
    monkeypatch.setattr(request_module, "sha256", noting)
    pipe = FaceEditPipeline.from_pretrained(weights)
    pipe.captioner, pipe.familiarity = captioner, Familiarity(surprise, 0.5, "nothing is known")
    settings = {"steps": 2, "interval": 3, "guidance_scale": 2.0}
    record = pipe.edit(video, tmp_path / "out.mp4", edits=["glasses"], settings=settings)
    assert decoded == 1 + 4 * 7, "the first frame when it is opened, then four passes over 7 frames"
    assert hashed == [video]
    assert looked == [5, 5]
    assert record.sidecar["prompts"]["source"] == "a photo of a man"
    assert any("its surprise is 9.00" in warning for warning in record.sidecar["warnings"])
