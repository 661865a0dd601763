"""Whether the watermark is found in what became of marked clips, and in clips that never had one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from keyface.benchmark.watermark_clips import FPS, Clip
from keyface.marks.watermark import Watermark, unit_for
from keyface.marks.watermark_search import THRESHOLD, find_watermark
from keyface.pictures import to_uint8
from keyface.video import VideoReader, write_clip


@dataclass(frozen=True)
class Attack:
    """What happens to a clip on its way.

    Attributes:
        quality: Constant rate factor of the H.264 that it is encoded with again; 18 is hardly seen.
        scale: Of its sides.
        crop: Share of the sides that is cut off.
        thinned: Whether every other frame is dropped.
    """

    quality: int = 18
    scale: float = 1.0
    crop: float = 0.0
    thinned: bool = False

    def apply(self, source: Path, target: Path, number: int) -> None:
        """Write what becomes of a video, with x264's own defaults.

        Args:
            source: The video.
            target: An .mp4.
            number: Of the clip; decides which part is cut off.
        """
        reader = VideoReader(source)
        rate = reader.fps / (2 if self.thinned else 1)
        random = torch.Generator().manual_seed(number)
        sides = [length - round(length * self.crop) for length in (reader.height, reader.width)]
        top, left = (
            int(torch.randint(0, length - side + 1, (1,), generator=random))
            for length, side in zip((reader.height, reader.width), sides, strict=True)
        )
        height, width = (max(round(side * self.scale / 2) * 2, 16) for side in sides)
        with av.open(str(target), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": str(self.quality)})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            index = 0
            for frames in reader.chunks(reader.at_once()):
                for pixels in to_uint8(frames[..., top : top + sides[0], left : left + sides[1]]):
                    if not (self.thinned and index % 2):
                        frame = av.VideoFrame.from_ndarray(
                            pixels.permute(1, 2, 0).contiguous().numpy(), format="rgb24"
                        )
                        container.mux(
                            stream.encode(frame.reformat(width, height, "yuv420p", interpolation="BICUBIC"))
                        )
                    index += 1
            container.mux(stream.encode())


ATTACKS: Mapping[str, Attack] = {
    "none": Attack(),
    "H.264 crf 28": Attack(quality=28),
    "half size": Attack(scale=0.5),
    "10 % crop": Attack(crop=0.1),
    "half the frames": Attack(thinned=True),
    "all four": Attack(quality=28, scale=0.5, crop=0.1, thinned=True),
}


@dataclass
class Marked:
    """What was measured on marked clips.

    Attributes:
        scores: Of each attack, one a clip.
        psnr: Of each clip, in dB, over the pixels that the mark was written to.
        milliseconds: Of writing the mark, a frame.
    """

    scores: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ATTACKS})
    psnr: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, clip: Clip, number: int, folder: Path) -> None:
        """Mark a clip, write it as an edit is written, attack it and look for the mark."""
        height, width = clip.frames.shape[-2:]
        began = time.perf_counter()
        mark = Watermark(height, width, unit_for(width, height, width))
        seconds = [Fraction(index, FPS) for index in range(len(clip.frames))]
        marked = mark.write(clip.frames, clip.mask, seconds)
        self.milliseconds.append(1000 * (time.perf_counter() - began) / len(marked))
        self.psnr.append(psnr_where_written(clip.frames, marked))
        write_clip(folder / "marked.mp4", marked, FPS)
        self.attack(folder / "marked.mp4", number, folder)

    def attack(self, path: Path, number: int, folder: Path) -> None:
        """Attack a marked file, and look for the mark in what becomes of it."""
        for name, attack in ATTACKS.items():
            attack.apply(path, folder / "attacked.mp4", number)
            self.scores[name].append(find_watermark(VideoReader(folder / "attacked.mp4")).score)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each attack."""
        return [row(name, scores) for name, scores in self.scores.items() if scores]


def unmarked_scores(clips: Iterable[Clip], folder: Path) -> Iterator[float]:
    """Write clips as they are, and yield the scores of the search for a mark that is not there."""
    for clip in clips:
        write_clip(folder / "plain.mp4", clip.frames, FPS)
        yield find_watermark(VideoReader(folder / "plain.mp4")).score


def psnr_where_written(before: Tensor, after: Tensor) -> float:
    """Return the ratio in dB of white to the change, in 8 bits and over the pixels that change."""
    one, other = to_uint8(before).float(), to_uint8(after).float()
    written = (before != after).any(dim=1, keepdim=True).expand_as(before)
    if not written.any():
        return math.inf
    return 10 * math.log10(255**2 / float((one - other)[written].square().mean()))


def row(name: str, scores: Sequence[float]) -> dict[str, Any]:
    """Return in how many clips the mark was found, and scores in standard deviations."""
    return {
        "after": name,
        "clips": len(scores),
        "found": sum(score >= THRESHOLD for score in scores),
        "lowest": round(min(scores), 1),
        "median": round(sorted(scores)[len(scores) // 2], 1),
        "highest": round(max(scores), 1),
    }
