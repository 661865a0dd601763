"""From a video file to a video file: read, edit the square, paste it back, write, and say how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import keyface
from keyface.files import require_space, write_text
from keyface.pipeline.prompts import warn_of_prompts, write_prompts
from keyface.pipeline.record import SYNTHETIC, EditRecord, describe
from keyface.pipeline.square import Paster, SquareFrames
from keyface.resume.session import Session
from keyface.video import VideoReader, VideoWriter

if TYPE_CHECKING:
    from keyface.editing.editor import Progress
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.request import VideoRequest


def edit_video(
    pipe: FaceEditPipeline, request: VideoRequest, progress: Progress | None, say: Callable[[str], None]
) -> EditRecord:
    """Edit a video file; see `FaceEditPipeline.run`.

    The file is decoded three times: once for its time stamps and the frames that the captioner and the
    familiarity look at, once for the edit, and once for the pictures that the edited squares are pasted into.
    """
    reader = request.reader
    frames = SquareFrames(reader, request.square, pipe.backbone.image_size)
    prompts = write_prompts(request, pipe.captioner, frames)
    warn_of_prompts(prompts, pipe.backbone.tokenizer)
    settings = pipe.defaults.for_categories(request.categories).with_values(request.settings)
    surprise = None if pipe.familiarity is None else pipe.familiarity.of(pipe.backbone, frames.looks())
    say(f"source: {prompts.source}\ntarget: {prompts.target}")

    editor = pipe.editor(settings)
    temporary = editor.temporary_bytes(frames)
    # An earlier process' files are used again, or removed first.
    check_space(request, reader, 0 if request.state.exists() else temporary)
    paster = Paster(reader, request.square)
    with ExitStack() as stack:
        decides = _decides(pipe, request, prompts, settings)
        session = stack.enter_context(Session.open(request.state, decides, restart=request.restart))
        say(
            f"going on with the edit that was stopped: {request.state}"
            if session.resumed
            else f"temporary files: {temporary / 2**20:.0f} MiB in {request.state}"
        )
        metadata = {
            "title": f"{request.video.stem} (synthetic)",
            "comment": f"{SYNTHETIC} Prompt: {prompts.target}",
        }
        output = stack.enter_context(VideoWriter(request.output, like=reader, metadata=metadata))
        compare = (
            stack.enter_context(VideoWriter(request.compare, like=reader, metadata=metadata))
            if request.compare is not None
            else None
        )

        def sink(edited: Tensor) -> None:
            originals, pasted = paster.paste(edited)
            output.write(pasted)
            if compare is not None:
                compare.write(torch.cat([originals, pasted], dim=-1))

        report = editor.edit(frames, prompts, sink, progress=progress, session=session)
    sidecar = describe(pipe, request, prompts, settings, report, surprise)
    text = json.dumps(sidecar, indent=2, ensure_ascii=False)
    write_text(request.record, text + "\n")
    return EditRecord(request.output, request.record, request.compare, json.loads(text))


def check_space(request: VideoRequest, reader: VideoReader, temporary: int = 0) -> None:
    """Raise if the disk cannot hold the output, estimated at 4 bits a pixel (crf 16 stays well below).

    Args:
        request: Says where it goes, and whether a comparison is written as well.
        reader: The input.
        temporary: Bytes of temporary files.

    Raises:
        ValueError: Too little is free.
    """
    sides = 3 if request.compare is not None else 1  # frames written for each one read
    needed = len(reader) * reader.height * reader.width * sides // 2 + 2**20 + temporary
    require_space(request.output.resolve().parent, needed, "this edit")


def _decides(
    pipe: FaceEditPipeline, request: VideoRequest, prompts: Prompts, settings: EditSettings
) -> dict[str, Any]:
    """Return everything that the edited frames depend on: a stopped edit goes on only with the same."""
    return {
        "keyface": keyface.__version__,
        "input": {"sha256": request.sha256, "frames": len(request.reader)},
        "weights": dict(pipe.versions),
        "prompts": asdict(prompts),
        "crop": asdict(request.square),
        "settings": asdict(settings),
        "device": str(pipe.backbone.device),
    }
