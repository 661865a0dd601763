"""`keyface miniature`: clips and contact sheets of the rendered world, and the training of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.miniature.population.parameters import Faces

_CHUNK = 16


def clip(
    output: Path = Path("clip.mp4"),
    identity: int = 1_000_003,
    seed: int = 0,
    seconds: float = 3.0,
    fps: float = 25.0,
    size: int = 256,
    rates: dict[str, float] | None = None,
) -> None:
    """Render a clip of one moving face to a video.

    Args:
        output: The video to write: .mp4, .m4v, .mov or .mkv.
        identity: Who; from 1000000 on nobody was trained on.
        seed: Which clip of that person.
        seconds: Its length.
        fps: Frames per second; 29.97 stands for 30000/1001.
        size: Side in pixels.
        rates: How often labels are drawn; '{Eyeglasses: 0, Sunglasses: 0}' makes a face without either.
    """
    from keyface.miniature.population import clips
    from keyface.progress import bar
    from keyface.video import write_clip

    rate = exact_rate(fps)
    frames = round(seconds * fps)
    if frames < 1 or size < 16:
        raise ValueError(
            f"{seconds} s at {fps} fps and {size} pixels: at least 1 frame of 16 pixels is needed"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    faces = clips.draw_clip(identity, seed, frames, float(rate), rates)
    with bar(f"render {output}", frames, "frame") as advance:
        write_clip(output, _rendered(faces, size, advance), rate)
    print(f"{output}: {frames} frames of identity {identity} at {rate} fps")


def sheet(
    output: Path = Path("sheet.png"),
    count: int = 48,
    columns: int = 8,
    size: int = 256,
    first_identity: int = 1_000_000,
    seed: int = 0,
    change: str | None = None,
) -> None:
    """Render a contact sheet of faces, one identity each.

    Args:
        output: The PNG to write.
        count: Number of faces.
        columns: Faces in a row.
        size: Side of each in pixels.
        first_identity: Identity of the first face.
        seed: Draws attributes and poses.
        change: An edit, such as glasses; below every row its faces are shown again after the edit.
    """
    import torch

    from keyface import pictures
    from keyface.miniature.population import world
    from keyface.plugins import edits

    if count < 1 or columns < 1 or size < 16:
        raise ValueError("count and columns must be at least 1, size at least 16")
    category = edits[change] if change is not None else None
    faces = world.draw_faces(torch.arange(first_identity, first_identity + count), seed)
    rows = []
    for start in range(0, count, columns):
        part = faces[start : start + columns]
        rows.append((str(first_identity + start), torch.cat(list(_rendered(part, size)))))
        if category is not None:
            changed = world.counterfactual(part, category.attribute, category.present)
            rows.append((category.name, torch.cat(list(_rendered(changed, size)))))
    pictures.save_png(pictures.draw_sheet(rows), output)
    print(f"{output}: {count} faces")


def train(
    output: Path = Path("runs/miniature-networks"),
    minutes: float = 60.0,
    stages: str | None = None,
    shares: dict[str, float] | None = None,
    from_packaged: bool = False,
    shards: Path | None = None,
    checkpoints: float = 2.0,
    device: str | None = None,
    restart: bool = False,
    *,
    lightning: Callable[[Sequence[str]], int],
) -> None:
    """Train all of the miniature's networks in a given time, one after the other.

    Each stage is a `lightning fit` by its config in configs/miniature, whose learning rate reaches its end
    when its share of the time is over. Killed anywhere, the same command goes on with the stage and the step
    of the last checkpoint. The networks are in `weights` of the output, laid out like those that come with
    keyface; `miniature:FOLDER` names them where a config takes `miniature`.

    Less than 5 minutes, on a GPU less than one, are a dry run: all parts run, and the networks are good for
    nothing.

    Args:
        output: Folder for everything.
        minutes: Time of all stages together, whatever they are interrupted by.
        stages: Only these, separated by commas, as in base,clip; what they need beside each other comes from
            the output, or from the packaged networks.
        shares: Parts of the time that differ, as in '{base: 0.6, clip: 0.1}'; only the ratios count.
        from_packaged: Begin with the packaged networks where names and shapes are the same. A branch always
            begins with the base.
        shards: Folder that `keyface shards render` wrote, of the base's size, for the branches, which
            otherwise get their own.
        checkpoints: Minutes between checkpoints.
        device: cpu, cuda, or auto; on a GPU where there is one if not given.
        restart: Begin anew, and forget what an unfinished run did.
        lightning: Runs a `lightning` command line and returns its exit status.
    """
    import shutil

    import torch

    from keyface.commands.console import table
    from keyface.diffusion.device import choose_device
    from keyface.miniature_training import run, tables
    from keyface.miniature_training.overlay import Machine

    if not 0 < checkpoints < float("inf"):
        raise ValueError(f"--checkpoints is {checkpoints}, it must be above 0")
    names = None if stages is None else [name.strip() for name in stages.split(",") if name.strip()]
    request = run.Request(output, minutes, names, shares, from_packaged, shards)
    request.settings()
    chosen = choose_device(device, "--device")
    gpu, compiler = chosen.type == "cuda", shutil.which("cc") or shutil.which("gcc")
    if gpu:
        torch.set_float32_matmul_precision("high")
    record = run.open_record(request, restart, chosen)
    print(table(tables.plan_rows(record.settings["shares"], 60 * minutes, chosen.type)), flush=True)
    machine = Machine(gpu, 60 * checkpoints, compiler is not None, from_packaged, shards)
    run.run(record, output, machine, lightning)
    print(f"\n{table(tables.result_rows(record.results))}\n\n{output / 'weights'}")


def exact_rate(fps: float) -> Fraction:
    """Return the rate that a number of frames per second stands for, NTSC's among them.

    Example:
        >>> exact_rate(29.97)
        Fraction(30000, 1001)
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"fps is {fps}, it must be above 0 and at most 1000")
    ntsc = Fraction(round(fps) * 1000, 1001)
    return ntsc if abs(ntsc - fps) < 0.005 else Fraction(fps).limit_denominator(1000)


def _rendered(
    faces: Faces, size: int, progress: Callable[[int], object] = lambda frames: None
) -> Iterator[Tensor]:
    """Render chunk by chunk: (n, 3, size, size) in [-1, 1]."""
    from keyface.miniature.rendering import renderer

    for start in range(0, len(faces), _CHUNK):
        chunk = renderer.render_images(faces[start : start + _CHUNK], size)
        progress(len(chunk))
        yield chunk
