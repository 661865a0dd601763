"""From a video file to a video file: edit the crops of faces, put the change back, write, and record."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import keyface
from keyface.files import remove_leftovers, write_text
from keyface.marks.credentials import Credentials, Shows
from keyface.marks.kinds import sidecar_of
from keyface.pipeline.additions import control_images
from keyface.pipeline.devices import split_jobs
from keyface.pipeline.output.canvas import Strip, paint
from keyface.pipeline.output.record import EditRecord, describe, statement_of
from keyface.pipeline.output.watermarking import Marking
from keyface.pipeline.planning.face_clips import CropFrames, cut_crops
from keyface.pipeline.planning.jobs import Job, held_to, make_jobs
from keyface.pipeline.planning.space import check_space
from keyface.resume.cache import WorkCache
from keyface.resume.journal import PREPARED
from keyface.resume.session import Session
from keyface.video import open_writer

if TYPE_CHECKING:
    from keyface.editing.editor import Progress
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.plan import Plan
    from keyface.pipeline.request.request import VideoRequest


def edit_video(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    plan: Plan,
    progress: Progress | None,
    say: Callable[[str], None],
) -> EditRecord:
    """Edit a video file; see `FaceEditPipeline.run`.

    The file is decoded for its time stamps, for the frames that captioners look at, for the crops, and for
    the frames that the change is added to; where faces are followed also to find them.
    """
    assert request.output is not None, "a preview writes no video"
    reader, size = request.reader, pipe.crop_side(request.framing)
    jobs = make_jobs(pipe, request, plan, say)
    split = split_jobs(pipe, request, plan, jobs)
    crops = [(len(job.clip), 3, size, size) for job in jobs]
    seen = 1 if request.control_reader is None else 2  # crops of the control images, too
    temporary = sum(seen * torch.Size(shape).numel() for shape in crops)
    if split is not None:
        temporary += split.temporary_bytes(size)
    else:
        temporary += sum(
            job.editor.temporary_bytes(CropFrames(torch.empty(shape, dtype=torch.uint8, device="meta")))
            for job, shape in zip(jobs, crops, strict=True)
        )
    marking = Marking.of(request, plan.clips)
    credentials = _credentials(pipe, request, jobs, marking)
    credentials.check()
    # An earlier process' files are used again, or removed first.
    check_space(request, reader, 0 if request.state.exists() else temporary)
    with ExitStack() as stack:
        decides = _decides(pipe, request, jobs) | ({} if split is None else {"parts": split.counts})
        session = stack.enter_context(Session.open(request.state, decides, restart=request.restart))
        say(
            f"going on with the edit that was stopped: {request.state}"
            if session.resumed
            else f"temporary files: {temporary / 2**20:.0f} MiB in {request.state}"
        )
        _remove_leftovers(request, session)
        pixels, controls = _crops(request, session, jobs, crops)
        if split is None:
            cache = None if request.cache is None else WorkCache.of(request.cache)
            edited = [
                stack.enter_context(
                    job.editor.prepare(
                        CropFrames(each),
                        job.prompts,
                        regions=held_to(pipe, job.clip, CropFrames(each)),
                        session=session.part(f"clip-{number}"),
                        cached=None if cache is None else cache.of_work(_unedited(pipe, request, job)),
                        progress=_part(progress, number, len(jobs)),
                        control=None if request.control is None else control_images(request.control, shown),
                    )
                )
                for number, (job, each, shown) in enumerate(zip(jobs, pixels, controls, strict=True), start=1)
            ]
        else:
            masks = [
                held_to(pipe, job.clip, CropFrames(each)) for job, each in zip(jobs, pixels, strict=True)
            ]
            edited = split.edit(session, pixels, masks, progress)
        _write(request, jobs, [each.layers() for each in edited], marking, credentials, stack, progress)
        reports = [each.report for each in edited]
    sidecar = describe(pipe, request, plan, jobs, reports, marking, credentials)
    text = json.dumps(sidecar, indent=2, ensure_ascii=False)
    write_text(request.record, text + "\n")
    return EditRecord(request.output, request.record, request.compare, request.mask_video, json.loads(text))


def _remove_leftovers(request: VideoRequest, session: Session) -> None:
    """Remove what a killed process has left half-written beside the outputs."""
    assert request.output is not None
    for ours in (request.output, request.record):
        remove_leftovers(ours)
    remove_leftovers(sidecar_of(request.output))
    for beside in (request.compare, request.mask_video):
        if session.found and beside is not None:
            remove_leftovers(beside)
            remove_leftovers(sidecar_of(beside))


def _crops(
    request: VideoRequest, session: Session, jobs: Sequence[Job], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the crops of all clips, and those of the control images, in the session's files."""
    pixels = [session.maps.tensor(f"crops-{n}", each, torch.uint8) for n, each in enumerate(shapes, start=1)]
    controls = pixels
    if request.control_reader is not None:
        controls = [
            session.maps.tensor(f"controls-{n}", each, torch.uint8) for n, each in enumerate(shapes, start=1)
        ]
    if not session.journal.count(PREPARED):
        for source, filled in ((request.reader, pixels), (request.control_reader, controls)):
            if source is not None:
                clips = [(job.clip, each) for job, each in zip(jobs, filled, strict=True)]
                cut_crops(source, clips, request.framing.border)
        session.journal.write(**{PREPARED: 1})
    return pixels, controls


def _write(
    request: VideoRequest,
    jobs: Sequence[Job],
    layers: Sequence[Any],
    marking: Marking,
    credentials: Credentials,
    stack: ExitStack,
    progress: Progress | None,
) -> None:
    """Decode the edits, and write and sign all videos that are asked for."""
    reader = request.reader
    targets = dict.fromkeys([job.prompts.target for job in jobs])
    comment = f"{statement_of(request.output)} Prompt: {'; '.join(targets)}"

    def writer(path: Any, shows: Shows) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the request has tried the same, and told it before the edit
            opened = open_writer(
                path,
                like=reader,
                metadata={"comment": comment},
                encoding=request.encoding,
                finish=partial(credentials.publish, shows=shows),
            )
        return stack.enter_context(opened)

    output = writer(request.output, "edit")
    compare = None if request.compare is None else writer(request.compare, "comparison")
    mask = None if request.mask_video is None else writer(request.mask_video, "mask")
    label = request.visible_label
    strips = [Strip(job.clip, each) for job, each in zip(jobs, layers, strict=True)]
    done, total = 0, len(reader)
    if progress is not None:
        progress("decode", done, total)
    for painted in paint(reader, strips, jobs[0].settings.composition.mode):
        after = marking.on(painted, request, done)
        after = after if label is None else label.burn(after)
        output.write(after)
        if compare is not None:
            compare.write(torch.cat([painted.before, after], dim=-1))
        if mask is not None:
            mask.write(painted.mask.mul(2).sub(1).expand(-1, 3, -1, -1))
        done += len(painted.after)
        if progress is not None:
            progress("decode", done, total)


def _credentials(
    pipe: FaceEditPipeline, request: VideoRequest, jobs: Sequence[Job], marking: Marking
) -> Credentials:
    """Return what signs the outputs, with what they will say of the edit."""
    told = {
        "model": pipe.name,
        "weights": dict(pipe.versions),
        "edits": [category.name for category in request.categories],
        "prompts": [{"source": job.prompts.source, "target": job.prompts.target} for job in jobs],
        "watermark": marking.facts,
    }
    return Credentials(request.identity, request.video, request.sha256, statement_of(request.output), told)


def _part(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Tell of the stages of one of several clips."""
    if progress is None or count == 1:
        return progress

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{number}/{count} {stage}", done, total)

    return told


def _decides(pipe: FaceEditPipeline, request: VideoRequest, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return everything that the edited frames depend on: a stopped edit goes on only with the same."""
    return {
        "keyface": keyface.__version__,
        "input": _input(request),
        "weights": dict(pipe.versions),
        "additions": pipe.additions.facts | request.looked_at,
        "regions": None if pipe.regions is None else pipe.regions.name,
        "framing": asdict(request.framing),
        "clips": {
            str(number): {
                "person": job.clip.person,
                "first": job.clip.first,
                "frames": len(job.clip),
                "squares": _digest(job.clip.squares),
                "presence": _digest(job.clip.presence),
                "prompts": asdict(job.prompts),
                "settings": asdict(job.settings),
            }
            for number, job in enumerate(jobs, start=1)
        },
        "device": pipe.backbone.device.type,
        "precision": pipe.precision,
    }


def _input(request: VideoRequest) -> dict[str, Any]:
    """Return which frames of which file are edited."""
    return {
        "sha256": request.sha256,
        "frames": len(request.reader),
        "range": [None if each is None else str(each) for each in request.times],
        "on_corrupt": request.on_corrupt,
    }


def _unedited(pipe: FaceEditPipeline, request: VideoRequest, job: Job) -> dict[str, Any]:
    """Return everything that inversion and reconstruction of a clip depend on: not the target."""
    settings = asdict(job.settings)
    for name in (
        *("guidance_scale", "guidance_limit", "guidance_from", "guidance_until"),
        *("injection", "composition"),
    ):
        del settings[name]
    unused = ("direction/",) if job.settings.inversion == "identity" else ("identity/", "direction/")
    added = pipe.additions.facts | {n: each for n, each in request.looked_at.items() if n == "control"}
    return {
        "keyface": keyface.__version__,
        "input": _input(request),
        "weights": {name: digest for name, digest in pipe.versions.items() if not name.startswith(unused)},
        "additions": added,
        "first": job.clip.first,
        "squares": _digest(job.clip.squares),
        "framing": asdict(request.framing),
        "source": job.prompts.source,
        "settings": settings,
        "device": pipe.backbone.device.type,
        "precision": pipe.precision,
    }


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]
