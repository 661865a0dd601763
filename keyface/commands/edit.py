"""`keyface edit`: one video in, the same video with its face edited out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keyface.files import require_space, write_text
from keyface.pipeline.record import (
    SYNTHETIC,
    describe,
    hashes,
    say,
    summarize,
    what_decides,
)
from keyface.pipeline.setup import (
    check_prompts,
    choose_settings,
    load_models,
    select_categories,
    surprise_of,
    write_prompts,
)

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.video import VideoReader


def edit(
    video: Path,
    output: Path,
    edits: str | None = None,
    prompt: str | None = None,
    source: str | None = None,
    negative: str | None = None,
    compare: Path | None = None,
    weights: Path | None = None,
    identity: Path | None = None,
    direction: Path | None = None,
    categories: Path | None = None,
    steps: int | None = None,
    solver: Literal["ddim", "dpmpp_2m"] = "ddim",
    guidance: float | None = None,
    interval: int = 8,
    propagation: Literal["tokens", "latent"] = "tokens",
    injection_until: float | None = None,
    strength: float | None = None,
    seed: int = 0,
    crop: str | None = None,
    max_seconds: float | None = None,
    on_corrupt: Literal["error", "hold"] = "error",
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
) -> None:
    """Edit the face in a video while the person stays the same person.

    The output keeps the frames' number and time stamps and the audio. A file OUTPUT.json beside it says
    how it was made and how well the model knows the clip. Until the output is complete, a folder OUTPUT.state
    holds what is done: the same command goes on where it was stopped. Without --weights the miniature is
    used, which comes with keyface and knows rendered faces only.

    Args:
        video: The video to edit: mp4, mov, mkv, webm or avi.
        output: The video to write: .mp4, .m4v, .mov or .mkv.
        edits: Edit categories separated by commas, such as beard,glasses; see `keyface plugins list`.
        prompt: What the clip shall show, in words, instead of --edits.
        source: What the clip shows, in words; found by itself with the miniature.
        negative: What guidance moves away from; the source caption if not given.
        compare: Also write a video here with original and result side by side.
        weights: A backbone: a folder in diffusers' layout, a .safetensors file, OWNER/NAME on the model
            hub, or a name of `keyface weights list`.
        identity: Folder of ε1, the identity branch: a U-Net or LoRA weights.
        direction: Folder of ε2, the editing branch: a U-Net or LoRA weights.
        categories: YAML file with edit categories of your own.
        steps: Denoising steps of the whole schedule.
        solver: ddim, or dpmpp_2m (DPM-Solver++ 2M), which comes nearer to many steps in 10 to 20.
        guidance: Classifier-free guidance scale, from 0 to 100; 1 is none.
        interval: Frames from one keyframe to the next.
        propagation: How the keyframes' edit reaches the other frames.
        injection_until: Fraction of the steps in which identity features are injected; 0.5 if not given, with
            the miniature 1, of which categories ask for a share.
        strength: Fraction of the inversion that is undone, up to 1; less changes less. If not given, that of
            the categories, with the miniature 0.7 of it.
        seed: Decides which frames become keyframes.
        crop: Square to edit, as x,y,size in pixels; the largest in the middle if not given.
        max_seconds: Edit only the first so many seconds.
        on_corrupt: What to do at damaged frames: stop, or hold the last good one.
        device: Where to compute, such as cuda or cpu.
        overwrite: Replace existing output files.
        resume: Only go on with an edit that was stopped. The same command does so by itself.
        restart: Begin anew although an edit of this output was stopped.

    Raises:
        ValueError: The request does not fit together, or the video cannot be used.
        FileNotFoundError: An input does not exist.
    """
    check_request(edits, prompt)
    targets = [output, output.with_suffix(".json"), *([compare] if compare else [])]
    check_targets(video, targets, overwrite)
    folder = state_folder(output, resume, restart)
    chosen = select_categories(edits, categories)
    miniature = weights is None
    settings = choose_settings(
        miniature, chosen, steps, solver, guidance, interval, propagation, injection_until, strength, seed
    )

    from keyface.editing.editor import VideoEditor
    from keyface.pipeline.square import Crop, Paster, SquareFrames
    from keyface.resume.session import Session
    from keyface.video import VideoReader, VideoWriter

    reader = VideoReader(video, on_corrupt=on_corrupt, max_seconds=max_seconds)
    square = (
        Crop.parse(crop, reader.height, reader.width) if crop else Crop.centre(reader.height, reader.width)
    )
    models = load_models(weights, identity, direction, device)
    frames = SquareFrames(reader, square, models.backbone.image_size)
    prompts = write_prompts(chosen, prompt, source, negative, frames, models)
    check_prompts(prompts, models.backbone)
    surprise = surprise_of(frames, models)
    say(f"source: {prompts.source}\ntarget: {prompts.target}")

    editor = VideoEditor(models.backbone, models.identity, models.direction, settings)
    temporary = editor.temporary_bytes(frames)
    more = 0 if folder.exists() else temporary  # an earlier process' files are used again, or removed first
    check_space(output, reader, sides=3 if compare else 1, temporary=more)
    weights_used = hashes(models)
    request = what_decides(video, reader, square, models, weights_used, prompts, settings)
    paster = Paster(reader, square)
    metadata = {"title": f"{video.stem} (synthetic)", "comment": f"{SYNTHETIC} Prompt: {prompts.target}"}
    with ExitStack() as stack:
        session = stack.enter_context(Session.open(folder, request, restart=restart))
        say(
            f"going on with the edit that was stopped: {folder}"
            if session.resumed
            else f"temporary files: {temporary / 2**20:.0f} MiB in {folder}"
        )
        writers = [stack.enter_context(VideoWriter(output, like=reader, metadata=metadata))]
        if compare:
            writers.append(stack.enter_context(VideoWriter(compare, like=reader, metadata=metadata)))
        progress = stack.enter_context(progress_bars())

        def sink(edited: Tensor) -> None:
            originals, pasted = paster.paste(edited)
            writers[0].write(pasted)
            for writer in writers[1:]:
                writer.write(side_by_side(originals, pasted))

        report = editor.edit(frames, prompts, sink, progress=progress, session=session)
    used = {str(path): digest for path, digest in weights_used.items()}
    record = describe(video, reader, square, models, used, chosen, prompts, settings, report, surprise)
    said = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    write_text(output.with_suffix(".json"), said + "\n")
    summarize(output, reader, report, record["warnings"])


def check_request(edits: str | None, prompt: str | None) -> None:
    """Raises unless exactly one of --edits and --prompt says something."""
    if (edits is None) == (prompt is None):
        raise ValueError("say what to change with either --edits NAME,... or --prompt TEXT, one of the two")
    if not (edits or prompt or "").strip():
        raise ValueError("--edits or --prompt is empty; see `keyface plugins list` for edits")


def check_targets(video: Path, targets: list[Path], overwrite: bool) -> None:
    """Raises if a file that is to be written is the input, given twice, or exists without --overwrite."""
    if len({target.resolve() for target in targets}) < len(targets):
        raise ValueError(f"output files must differ: {', '.join(map(str, targets))}")
    for target in targets:
        if target.exists() and video.exists() and target.samefile(video):
            raise ValueError(f"{target}: is the input, which is never overwritten; give another name")
        if target.is_dir():
            raise ValueError(f"{target}: is a folder; give the name of a file")
        if target.exists() and not overwrite:
            raise ValueError(f"{target}: exists; give another name, or --overwrite to replace it")


def state_folder(output: Path, resume: bool, restart: bool) -> Path:
    """Returns where the state of an edit is kept; raises if that is in use, or does not fit the request."""
    from keyface.resume.session import require_free

    folder = output.with_name(f"{output.name}.state")
    if resume and restart:
        raise ValueError("--resume goes on and --restart begins anew; give one of the two")
    if resume and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder, so no edit of {output} was stopped; leave --resume out")
    require_free(folder)
    return folder


def check_space(output: Path, reader: VideoReader, sides: int, temporary: int = 0) -> None:
    """Raises if the disk cannot hold the output, estimated at 4 bits a pixel (crf 16 stays well below).

    Args:
        output: The output.
        reader: The input.
        sides: Frames as large as the input's that are written for each of its frames.
        temporary: Bytes of temporary files.
    """
    needed = len(reader) * reader.height * reader.width * sides // 2 + 2**20 + temporary
    require_space(output.resolve().parent, needed, "this edit")


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function (stage, done, total) that draws one bar for each stage on stderr."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def show(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, file=sys.stderr, dynamic_ncols=True)
        bars[stage].update(done - bars[stage].n)

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


def side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Joins (n, 3, H, W) and (n, 3, H, W) into (n, 3, H, 2W)."""
    import torch

    return torch.cat([first, second], dim=-1)
