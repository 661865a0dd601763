"""`keyface miniature clip` and `sheet`: clips and contact sheets of the rendered world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
