"""The fixed clips that the callback edits: rendered by the miniature, or read from files."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.editing.settings import Prompts
from keyface.plugins import Category, compose
from keyface.video import VideoReader


@dataclass(frozen=True)
class Example:
    """One edit of one clip.

    Attributes:
        name: Of its files and of its row in the sheet.
        frames: (T, 3, H, W) in [-1, 1].
        prompts: Source and target caption.
        categories: What is edited.
        fps: Frames per second.
        flow: (T - 1, 2, H, W) in pixels, exact; None where it is not known.
        valid: (T - 1, H, W) bool, where the flow is visible in both frames; None with `flow`.
    """

    name: str
    frames: Tensor
    prompts: Prompts
    categories: Sequence[Category]
    fps: Fraction | int
    flow: Tensor | None = None
    valid: Tensor | None = None


def miniature_examples(
    categories: Sequence[Category], clips: int, frames: int, size: int, seed: int
) -> list[Example]:
    """Clips of held-out identities, `clips` for each category, each of somebody it applies to."""
    from keyface.miniature.trials import FPS, trials

    return [
        Example(trial.name, trial.frames, trial.prompts, trial.categories, FPS, trial.flow, trial.valid)
        for trial in trials(categories, clips * len(categories), frames, size, seed)
    ]


def video_examples(
    categories: Sequence[Category],
    paths: Sequence[Path],
    captions: Sequence[str] | None,
    frames: int,
    size: int,
) -> list[Example]:
    """The first frames of each video, with each category.

    Args:
        categories: Edits, each applied by itself.
        paths: Videos.
        captions: One a video; None captions the first frame with the miniature's network.
        frames: At most so many of each.
        size: The frames' centre is cut out and scaled to this square.
    """
    examples = []
    for index, path in enumerate(paths):
        reader = VideoReader(path)
        clip = square(next(reader.chunks(frames)), size)
        caption = captions[index] if captions is not None else _miniature_caption(clip)
        for category in categories:
            pair = compose(caption, [category])
            prompts = Prompts(pair.source, pair.target)
            examples.append(Example(f"{category.name}-{path.stem}", clip, prompts, [category], reader.fps))
    return examples


def square(frames: Tensor, size: int) -> Tensor:
    """The largest centred square of frames (T, 3, H, W), scaled to (T, 3, size, size)."""
    height, width = frames.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = frames[..., top : top + side, left : left + side]
    if side == size:
        return cut
    return F.interpolate(cut, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _miniature_caption(clip: Tensor) -> str:
    from keyface.miniature import zoo

    with torch.no_grad():
        caption: str = zoo.caption_images(clip[:1])[0]
    return caption
