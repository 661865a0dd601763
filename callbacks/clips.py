"""The fixed clips that the callback edits: rendered by the miniature, or read from files."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from keyface.editing.settings import Prompts
from keyface.pictures import largest_square, resize_square
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
    """Render clips of held-out identities, `clips` for each category, each of somebody it applies to."""
    from keyface.miniature.trials import FPS, render_trials

    return [
        Example(trial.name, trial.frames, trial.prompts, trial.categories, FPS, trial.flow, trial.valid)
        for trial in render_trials(categories, clips * len(categories), frames, size, seed)
    ]


def video_examples(
    categories: Sequence[Category],
    paths: Sequence[Path],
    captions: Sequence[str] | None,
    frames: int,
    size: int,
) -> list[Example]:
    """Read the first frames of each video, to be edited by each category.

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
            prompts = Prompts(*pair)
            examples.append(Example(f"{category.name}-{path.stem}", clip, prompts, [category], reader.fps))
    return examples


def square(frames: Tensor, size: int) -> Tensor:
    """Cut out the largest square in the middle of frames (T, 3, H, W), resized to (T, 3, size, size)."""
    left, top, side = largest_square(0, 0, frames.shape[-1], frames.shape[-2])
    return resize_square(frames[..., top : top + side, left : left + side], size)


def _miniature_caption(clip: Tensor) -> str:
    from keyface.miniature import zoo

    with torch.no_grad():
        caption: str = zoo.caption_images(clip[:1])[0]
    return caption
