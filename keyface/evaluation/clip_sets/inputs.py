"""The exact frames that are scored, as files: what any method is to be run on."""

from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.video import write_clip


def write_inputs(clips: ClipSet, folder: Path) -> None:
    """Write every edited clip's original as `folder/<key>.mp4`, sampled, cropped and resized as it is scored.

    A method whose outputs of these files are named after them can be scored with `--method NAME=DIR`.

    Args:
        clips: The clip set.
        folder: Where to; made if need be.

    Raises:
        FileNotFoundError: A video is missing.
        ValueError: A video is damaged, or not the one that the set names.
    """
    for clip in tqdm(clips.edited, desc="write originals", unit="clip"):
        rate = Fraction(clip.fps).limit_denominator(1001)
        write_clip(folder / f"{clip.key}.mp4", clips.frames_of(clip), rate)
