"""One edit on several devices: a process for each edits parts of the clips, this one puts them together."""

from __future__ import annotations

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from keyface.editing.edited import EditedClip, EditReport
from keyface.editing.keyframes import select_keyframes
from keyface.editing.latents import ClipLatents
from keyface.editing.splitting import ClipPart, split_clip
from keyface.pipeline.additions import CANNY, control_images
from keyface.pipeline.planning.face_clips import CropFrames
from keyface.pipeline.stages import EACH_CLIP
from keyface.resume.batches import Batches
from keyface.resume.session import Session

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from keyface.editing.editor import Progress
    from keyface.editing.frames import MaskStream
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.jobs import Job
    from keyface.pipeline.planning.plan import Plan
    from keyface.pipeline.request.request import VideoRequest


@dataclass(frozen=True)
class Task:
    """What a process is told of one part of a clip.

    Attributes:
        clip: Number of the clip, from 1.
        part: Its frames.
        name: Of the part's folder.
        prompts: Words of the clip.
        settings: How it is edited.
        control: `canny`, or the path of a video of control images; None for none.
        reference: Embedding (1, E) of the face on a reference photo; None for none.
    """

    clip: int
    part: ClipPart
    name: str
    prompts: Prompts
    settings: EditSettings
    control: str | None
    reference: Tensor | None


@dataclass(frozen=True)
class Folder:
    """Where the processes meet.

    Attributes:
        path: The edit's folder.
        lock: Of the session that has opened it.
        resumed: As of that session.
        crops: Shape of each clip's crops, (T, 3, S, S).
        latent: (C, h, w).
    """

    path: Path
    lock: tuple[int, int]
    resumed: bool
    crops: Sequence[tuple[int, ...]]
    latent: tuple[int, ...]

    def latents(self, session: Session, clip: int) -> tuple[Tensor, Tensor]:
        """Return where the clean and the edited latents (T, C, h, w) of a whole clip are put together."""
        shape = (self.crops[clip - 1][0], *self.latent)
        clean, edited = (session.maps.tensor(f"{name}-{clip}", shape) for name in ("clean", "edited"))
        return clean, edited


def devices_for(kind: torch.device, count: int) -> list[str]:
    """Return the names of so many devices of a kind; on the CPU that many processes share its cores.

    Raises:
        ValueError: There are not so many.
    """
    if kind.type == "cpu":
        return ["cpu"] * count
    here = torch.cuda.device_count() if kind.type == "cuda" else 1
    if count > here:
        raise ValueError(
            f"--devices is {count}, and there are {here} of {kind.type} here; give {here} at most"
        )
    return [f"{kind.type}:{number}" for number in range(count)]


def split_jobs(
    pipe: FaceEditPipeline, request: VideoRequest, plan: Plan, jobs: Sequence[Job]
) -> SplitEdit | None:
    """Return the edit of the clips in parts, as many of each as its share of the frames; None for one device.

    Raises:
        ValueError: There are fewer devices, the networks cannot be read by other processes, or a clip cannot
            be split.
    """
    if request.devices == 1:
        return None
    if pipe.reopen is None:
        raise ValueError(
            "devices: other processes must read the networks by themselves; make the pipeline by "
            "FaceEditPipeline.from_pretrained"
        )
    devices = devices_for(torch.device(pipe.backbone.device), request.devices)
    frames = sum(len(job.clip) for job in jobs)
    parts = [
        split_clip(len(job.clip), job.settings, max(1, round(len(devices) * len(job.clip) / frames)))
        for job in jobs
    ]
    return SplitEdit(pipe, request, plan, jobs, parts, devices)


@dataclass(frozen=True)
class SplitEdit:
    """An edit whose clips are edited in parts by several processes.

    Attributes:
        pipe: The networks, of which every process reads its own.
        request: What is asked for.
        plan: Has the reference photo's embedding.
        jobs: The clips.
        parts: Of each clip.
        devices: Of each process.
    """

    pipe: FaceEditPipeline
    request: VideoRequest
    plan: Plan
    jobs: Sequence[Job]
    parts: Sequence[Sequence[ClipPart]]
    devices: Sequence[str]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of parts by clip: what the edited frames depend on."""
        return {str(number): len(parts) for number, parts in enumerate(self.parts, start=1)}

    def temporary_bytes(self, side: int) -> int:
        """Return the bytes that the temporary files take; `side` is that of the crops in pixels."""
        total = 0
        for job, parts in zip(self.jobs, self.parts, strict=True):
            total += 2 * len(job.clip) * torch.Size(self._latent(side)).numel() * 4
            for part in parts:
                shape = (len(part.frames), 3, side, side)
                crops = CropFrames(torch.empty(shape, dtype=torch.uint8, device="meta"))
                total += job.editor.temporary_bytes(crops, part.choice)
        return total

    def edit(
        self,
        session: Session,
        pixels: Sequence[Tensor],
        masks: Sequence[MaskStream | None],
        progress: Progress | None,
    ) -> list[EditedClip]:
        """Edit all parts, and return the whole clips.

        Args:
            session: The edit's folder, with the crops in it.
            pixels: Crops of each clip, (T, 3, S, S) uint8.
            masks: Where each clip may change.
            progress: Told of the stages of all parts together, in frames.

        Raises:
            RuntimeError: A process failed or was ended; what is done is kept for the next try.
        """
        shapes = [tuple(each.shape) for each in pixels]
        folder = Folder(
            session.folder, session.lock, session.resumed, shapes, self._latent(pixels[0].shape[-1])
        )
        whole = [folder.latents(session, number) for number in range(1, len(self.jobs) + 1)]
        tasks = [
            Task(
                number,
                part,
                f"clip-{number}-{row}",
                job.prompts,
                job.settings,
                self.request.control,
                self.plan.reference,
            )
            for number, (job, parts) in enumerate(zip(self.jobs, self.parts, strict=True), start=1)
            for row, part in enumerate(parts, start=1)
        ]
        assert self.pipe.reopen is not None
        reports = run_tasks(self.pipe.reopen, self.devices, folder, tasks, progress)
        edited = []
        for number, (job, frames, (clean, done), mask) in enumerate(
            zip(self.jobs, pixels, whole, masks, strict=True), start=1
        ):
            settings = job.settings
            keyframes = select_keyframes(len(frames), settings.interval, settings.seed)
            batches = Batches(settings.chunk_size, after=session.maps.release)
            latents = ClipLatents(self.pipe.backbone, settings, keyframes, clean, done, batches)
            ours = [report for task, report in zip(tasks, reports, strict=True) if task.clip == number]
            edited.append(_joined(latents, CropFrames(frames), mask, ours, len(self.devices)))
        return edited

    def _latent(self, side: int) -> tuple[int, ...]:
        backbone = self.pipe.backbone
        return (backbone.latent_channels, side // backbone.downscale, side // backbone.downscale)


def _joined(
    latents: ClipLatents,
    frames: CropFrames,
    mask: MaskStream | None,
    reports: Sequence[EditReport],
    processes: int,
) -> EditedClip:
    """Return a whole clip; its PSNRs are the parts' means, its seconds those of one process on average."""
    count = sum(report.frames for report in reports)
    psnr = [
        sum(getattr(report, name) * report.frames for report in reports) / count
        for name in ("vae_psnr", "reconstruction_psnr")
    ]
    seconds: dict[str, float] = defaultdict(float)
    for report in reports:
        for stage, taken in report.seconds.items():
            seconds[stage] += taken / processes
    disk = sum(report.disk_bytes for report in reports)
    return EditedClip(latents, frames, mask, latents.clean, (psnr[0], psnr[1]), dict(seconds), disk)


def run_tasks(
    reopen: Callable[..., FaceEditPipeline],
    devices: Sequence[str],
    folder: Folder,
    tasks: Sequence[Task],
    progress: Progress | None,
) -> list[EditReport]:
    """Share tasks out, the longest first, and return their reports in order when all are done.

    Raises:
        RuntimeError: A process failed or was ended.
    """
    shares: list[list[int]] = [[] for _ in devices]
    for number in sorted(range(len(tasks)), key=lambda n: -len(tasks[n].part.frames)):
        min(shares, key=lambda share: sum(len(tasks[n].part.frames) for n in share)).append(number)
    used = [(device, share) for device, share in zip(devices, shares, strict=True) if share]
    threads = max(1, torch.get_num_threads() // len(used))
    reports: dict[int, EditReport] = {}
    shown = _Progress([len(task.part.frames) for task in tasks], progress)
    with _processes() as start:
        lines = {
            start(_work, reopen, device, threads, folder, {n: tasks[n] for n in share}): (device, share)
            for device, share in used
        }
        while lines:
            for line in wait(list(lines)):
                assert isinstance(line, Connection)
                device, share = lines[line]
                try:
                    number, what = line.recv()
                except EOFError:
                    if not reports.keys() >= set(share):
                        raise RuntimeError(
                            f"the process that edits on {device} was ended; repeat the command, which "
                            "goes on where it was"
                        ) from None
                    del lines[line]
                    continue
                if isinstance(what, EditReport):
                    reports[number] = what
                elif isinstance(what, str):
                    raise RuntimeError(f"on {device}: {what}")
                else:
                    shown.part(number, *what)
    return [reports[number] for number in range(len(tasks))]


class _Progress:
    """Tells of the stages of several parts as of one clip's: of the earliest that is not done everywhere.

    Args:
        frames: Of each part.
        progress: Told of stages, in frames of all parts.
    """

    def __init__(self, frames: Sequence[int], progress: Progress | None) -> None:
        self.frames, self.progress, self.stage = frames, progress, 0
        self.reached = [[0.0] * len(EACH_CLIP) for _ in frames]

    def part(self, number: int, stage: str, done: int, total: int) -> None:
        """Note how far a part is, and tell."""
        at = EACH_CLIP.index(stage)
        self.reached[number][:at] = [1.0] * at
        self.reached[number][at] = done / total if total else 1.0
        while self.progress is not None and self.stage < len(EACH_CLIP):
            shares = [reached[self.stage] for reached in self.reached]
            complete = all(share == 1.0 for share in shares)
            all_frames = sum(self.frames)
            frames = int(sum(share * n for share, n in zip(shares, self.frames, strict=True)))
            self.progress(
                EACH_CLIP[self.stage], all_frames if complete else min(frames, all_frames - 1), all_frames
            )
            if not complete:
                return
            self.stage += 1


@contextmanager
def _processes() -> Iterator[Callable[..., Connection]]:
    """Yield a function that starts a process and returns the line it speaks on; none outlives the block."""
    context = multiprocessing.get_context("spawn")  # a fork would share what CUDA and threads hold
    started: list[BaseProcess] = []

    def start(work: Callable[..., None], *given: Any) -> Connection:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(there, *given))
        process.start()
        there.close()
        started.append(process)
        return here

    try:
        yield start
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.join()


def _work(
    line: Connection,
    reopen: Callable[..., FaceEditPipeline],
    device: str,
    threads: int,
    folder: Folder,
    tasks: dict[int, Task],
) -> None:
    """Edit parts, in a process of its own."""
    Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    torch.set_num_threads(threads)
    number = next(iter(tasks))
    try:
        pipe = reopen(device=device)
        session = Session.joined(folder.path, folder.lock, resumed=folder.resumed)
        for number, task in tasks.items():
            report = _edit_part(pipe, session, folder, task, lambda *told: line.send((number, told)))  # noqa: B023
            line.send((number, report))
    except Exception as error:
        line.send((number, str(error) or type(error).__name__))
    finally:
        line.close()


def _end_with(parent: BaseProcess | None) -> None:
    """End this process at once when the one that has the edit's folder locked is gone."""
    assert parent is not None
    parent.join()
    os._exit(1)


def _edit_part(
    pipe: FaceEditPipeline, session: Session, folder: Folder, task: Task, progress: Progress
) -> EditReport:
    pixels = session.maps.tensor(f"crops-{task.clip}", tuple(folder.crops[task.clip - 1]), torch.uint8)
    rows, control = task.part.frames, None
    if task.control is not None:
        shown = pixels
        if task.control != CANNY:
            shown = session.maps.tensor(f"controls-{task.clip}", tuple(pixels.shape), torch.uint8)
        images = control_images(task.control, shown)
        control = lambda frames: images([rows[frame] for frame in frames])  # noqa: E731
    face = None
    if pipe.added.face_adapter is not None and task.reference is not None:
        face = pipe.added.face_adapter.reference(task.reference)
    with (
        pipe.editor(task.settings)
        .changed(face=face)
        .prepare(
            CropFrames(pixels, rows),
            task.prompts,
            session=session.part(task.name),
            progress=progress,
            control=control,
            choice=task.part.choice,
        ) as edited
    ):
        latents, (clean, done) = edited.latents, folder.latents(session, task.clip)
        clean[task.part.first : task.part.stop] = latents.clean[task.part.own]
        done[task.part.first : task.part.stop] = latents.edited[task.part.own]
        session.maps.flush()
        return edited.report
