"""The fixed clips that the callback edits: rendered, made of the data's pictures, or read from files."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyface.callbacks.clip_networks import ClipNetworks
from keyface.editing.settings import Prompts
from keyface.faces.crops import Placement, smooth_squares
from keyface.faces.regions import dilate, region_mask
from keyface.footage import scan
from keyface.footage.camera import Camera
from keyface.models.finders import FaceSuite
from keyface.pictures import from_uint8, largest_square, resize_square
from keyface.pipeline.planning.face_clips import FaceClip, cut_crops
from keyface.plugins import Category, compose
from keyface.plugins.masks import are_held, free_masks
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
        region: (T, H, W) bool, where the edit may change the picture; None where nothing tells.
    """

    name: str
    frames: Tensor
    prompts: Prompts
    categories: Sequence[Category]
    fps: Fraction | int
    flow: Tensor | None = None
    valid: Tensor | None = None
    region: Tensor | None = None


def miniature_examples(
    categories: Sequence[Category], clips: int, frames: int, size: int, seed: int
) -> list[Example]:
    """Render clips of held-out identities, `clips` for each category, each of somebody it applies to."""
    from keyface.miniature.trials import FPS, render_trials

    return [
        Example(
            trial.name,
            trial.frames,
            trial.prompts,
            trial.categories,
            FPS,
            trial.flow,
            trial.valid,
            trial.region,
        )
        for trial in render_trials(categories, clips * len(categories), frames, size, seed)
    ]


PICTURE_FPS = 12
"""Frames a second of clips that are made of pictures."""


def picture_examples(
    categories: Sequence[Category], samples: Iterable[dict[str, Any]], each: int, frames: int
) -> list[Example]:
    """Move pictures before a camera, `each` for every category, of people to whom it applies.

    The motion is known exactly, and where the picture has a label map, so is the region of the edit.

    Args:
        categories: Edits, each applied by itself.
        samples: Batches of one picture, see `keyface.datamodules`; those that are taken come first.
        each: So many pictures for each edit.
        frames: T.

    Raises:
        ValueError: There are not enough pictures for an edit.
    """
    wanted = {category.name: each for category in categories}
    found: dict[str, list[Example]] = {category.name: [] for category in categories}
    for sample in samples:
        for category in categories:
            taken = found[category.name]
            pair = compose(sample["caption"][0], [category])
            changes = pair.source != pair.target and category.applies_to(sample["attributes"][0])
            if changes and len(taken) < wanted[category.name]:
                taken.append(_picture_example(category, sample, frames, Prompts(*pair)))
        if all(len(found[name]) == number for name, number in wanted.items()):
            break
    lacking = [name for name, number in wanted.items() if len(found[name]) < number]
    if lacking:
        raise ValueError(
            f"VideoEditCallback: fewer than {each} held-out pictures of the data can take "
            f"{', '.join(lacking)}; name other edits, or raise data.val_fraction"
        )
    return [example for category in categories for example in found[category.name]]


def _picture_example(category: Category, sample: dict[str, Any], frames: int, prompts: Prompts) -> Example:
    picture: Tensor = sample["image"]
    camera = Camera.round(frames, picture.shape[-1])
    region = None
    if "mask" in sample and are_held([category]):
        region = camera.film(_free(category, picture, sample["mask"]).float()[:, None])[:, 0] > 0.5
    flow, valid = camera.flow()
    return Example(
        f"{category.name}-{sample['key'][0]}",
        camera.film(picture).clamp(-1, 1),
        prompts,
        [category],
        PICTURE_FPS,
        flow,
        valid,
        region,
    )


def _free(category: Category, picture: Tensor, labels: Tensor) -> Tensor:
    """Return where an edit may change a picture (1, 3, S, S) with labels (1, S, S): (1, S, S) bool."""

    def find(names: Collection[str]) -> Tensor:
        return region_mask(labels, names)[:, None].float()

    return dilate(free_masks([category], picture, find)[:, 0] > 0.5, max(1, labels.shape[-1] // 32))


def video_examples(
    categories: Sequence[Category],
    paths: Sequence[Path],
    captions: Sequence[str] | None,
    frames: int,
    size: int,
    networks: ClipNetworks,
    placement: Placement,
) -> list[Example]:
    """Read a few frames of each video, to be edited by each category.

    Args:
        categories: Edits, each applied by itself.
        paths: Videos.
        captions: One a video; None asks `networks.caption` about the first frame.
        frames: At most so many of each: the first ones of whom is seen longest.
        size: Rows and columns of the crop.
        networks: Find the face and caption it.
        placement: How the face is to lie in the crop.

    Raises:
        ValueError: A video shows no face.
    """
    examples = []
    for index, path in enumerate(paths):
        reader = VideoReader(path)
        clip = face_frames(reader, frames, size, networks.suite, placement)
        if captions is not None:
            caption = captions[index]
        else:
            assert networks.caption is not None
            with torch.no_grad():
                caption = networks.caption(clip[:1])
        for category in categories:
            pair = compose(caption, [category])
            prompts = Prompts(*pair)
            examples.append(Example(f"{category.name}-{path.stem}", clip, prompts, [category], reader.fps))
    return examples


def face_frames(
    reader: VideoReader, frames: int, size: int, suite: FaceSuite | None, placement: Placement
) -> Tensor:
    """Cut out the face of the person who is seen longest, as an edit would.

    Args:
        reader: The video.
        frames: At most so many.
        size: Rows and columns of the crop.
        suite: Finds faces; None takes the middle of each frame.
        placement: How the face is to lie in the crop.

    Returns:
        (T, 3, size, size) in [-1, 1], T ≤ `frames`.

    Raises:
        ValueError: There is no face.
    """
    if suite is None:
        return square(next(reader.chunks(frames)), size)
    footage = scan(reader, suite)
    if not footage.people:
        raise ValueError(
            f"{reader.path}: no face in its {footage.frames} frames (looked for {suite.finder.knows} with "
            f"{suite.name}); give VideoEditCallback another clip, another `finder`, or finder: centre"
        )
    segment = max(footage.people[0].segments, key=lambda each: each.stop - each.first)
    shown = slice(segment.first, min(segment.stop, segment.first + frames))
    squares = smooth_squares(
        placement.squares(segment.landmarks, reader.pixel_aspect),
        footage.seconds[segment.first : segment.stop],
    )[: shown.stop - shown.start]
    clip = FaceClip(footage.people[0].number, (), segment.first, squares, torch.ones(len(squares)))
    pixels = torch.empty(len(squares), 3, size, size, dtype=torch.uint8)
    cut_crops(reader, [(clip, pixels)])
    return from_uint8(pixels)


def square(frames: Tensor, size: int) -> Tensor:
    """Cut out the largest square in the middle of frames (T, 3, H, W), resized to (T, 3, size, size)."""
    left, top, side = largest_square(0, 0, frames.shape[-1], frames.shape[-2])
    return resize_square(frames[..., top : top + side, left : left + side], size)
