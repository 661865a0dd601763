"""From a video file to a video file: how often the clip is read."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.pipeline.companions import Familiarity
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.pipeline.request import request as request_module
from keyface.pipeline.request.request import VideoRequest
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
    pipe.captioner, pipe.familiarity = captioner, Familiarity(surprise, 9.5, "much is known")
    settings = {"steps": 2, "interval": 3, "guidance_scale": 2.0}
    record = pipe.edit(video, tmp_path / "out.mp4", edits=["glasses"], crop="centre", settings=settings)
    assert decoded == 1 + 4 * 7, "the first frame; then time stamps, looks, crops, and frames to be changed"
    assert hashed == [video]
    assert looked == [5, 5]
    assert record.sidecar["prompts"]["source"] == "a photo of a man"
    assert record.sidecar["metrics"]["surprise"] == 9.0


def test_a_captioner_says_nothing_of_faces_that_its_model_does_not_know(
    weights: Path, video: Path, tmp_path: Path
) -> None:
    pipe = FaceEditPipeline.from_pretrained(weights)
    pipe.captioner = lambda frames: "a photo of a man"
    pipe.familiarity = Familiarity(lambda _, frames: frames.mean((1, 2, 3)) * 0 + 9.0, 0.5, "little is known")
    request = VideoRequest(
        video,
        tmp_path / "out.mp4",
        edits="glasses",
        crop="centre",
        settings={"steps": 2, "interval": 3, "guidance_scale": 2.0},
    )
    said: list[str] = []
    with pytest.raises(ValueError, match="--source"):
        pipe.run(request, say=said.append)
    assert "its surprise is 9.00" in said[0], "before anything slow"
    record = pipe.run(replace(request, source="a photo of a man"))
    assert any("its surprise is 9.00" in warning for warning in record.sidecar["warnings"])


def test_a_stopped_edit_goes_on_with_the_same_part_of_the_video_only(
    weights: Path, video: Path, tmp_path: Path
) -> None:
    """Two parts with as many frames, in the same square."""
    pipe = FaceEditPipeline.from_pretrained(weights)
    first = VideoRequest(
        video,
        tmp_path / "out.mp4",
        edits="glasses",
        source="a photo of a man",
        crop="centre",
        end=0.1,
        settings={"steps": 2, "interval": 3, "guidance_scale": 2.0},
    )

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "edit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.run(first, stop)
    other = replace(first, start=0.1, end=0.2)
    assert len(other.reader) == len(first.reader) == 3
    with pytest.raises(ValueError, match=r"input\.range was \[None, '1/10'\] and is now \['1/10', '1/5'\]"):
        pipe.run(other)
    pipe.run(first)
    assert first.record.exists()


def test_the_precision_of_the_unets_is_recorded_and_a_stopped_edit_goes_on_in_the_same(
    weights: Path, video: Path, tmp_path: Path
) -> None:
    settings = {"steps": 2, "interval": 3, "guidance_scale": 2.0}
    request = VideoRequest(
        video,
        tmp_path / "out.mp4",
        edits="glasses",
        source="a photo of a man",
        crop="centre",
        settings=settings,
    )
    half = FaceEditPipeline.from_pretrained(weights, device="cpu", dtype="bf16")
    assert (half.backbone.unet.dtype, half.backbone.vae.dtype) == (torch.bfloat16, torch.float32)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "edit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half.run(request, stop)
    whole = FaceEditPipeline.from_pretrained(weights, device="cpu")
    assert whole.precision == "fp32"
    with pytest.raises(ValueError, match="precision was 'bf16' and is now 'fp32'"):
        whole.run(request)
    sidecar = half.run(request).sidecar
    assert (sidecar["device"], sidecar["precision"]) == ("cpu", "bf16")
