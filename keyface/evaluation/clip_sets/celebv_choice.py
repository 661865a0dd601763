"""Takes clips from a CelebV-HQ folder in an order that a seed decides."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from keyface.evaluation.clip_sets.celebv_info import Labels, read_info, write_caption
from keyface.evaluation.clip_sets.sampling import declared_seconds, is_long_enough
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.files import sha256
from keyface.plugins import Category, edits
from keyface.plugins.compose import compose
from keyface.progress import each

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")

_YOUTUBE = re.compile(r"([A-Za-z0-9_-]{11})(_\d+)+")
"""CelebV-HQ names its clips after the YouTube video and a number in it."""


class Choice:
    """The clips of a folder, of which each can be taken once.

    Args:
        videos: The folder; sub-folders are searched too.
        info: `celebvhq_info.json`, or None.
        seed: Decides the order.
        frames: Frames of a clip of full length.
        fps: Frames a second.
        size: Rows and columns.

    Attributes:
        found: How many videos of usable names the folder has.
        notes: A line for each video that was left out, with the reason.

    Raises:
        FileNotFoundError: The folder has no videos.
        ValueError: A number is out of range.
    """

    def __init__(
        self, videos: Path, info: Path | None, seed: int, frames: int, fps: float, size: int
    ) -> None:
        self.notes: list[str] = []
        self._videos = videos
        self._labels: Mapping[str, Labels] | None = None if info is None else read_info(info)
        clips = list(self._specs(frames, fps, size))
        self.found = len(clips)
        # Hashed, so that neither a file system's order nor one missing video changes every choice.
        clips.sort(key=lambda clip: hashlib.sha256(f"{seed} {clip.key}".encode()).digest())
        self._left = {clip.key: clip for clip in clips}
        self._short: set[str] = set()
        self._sources: set[str] = set()

    def queries(self, wanted: str, number: int) -> tuple[ClipSpec, ...]:
        """Take clips to edit, each with the next of the wanted edits in rotation.

        Raises:
            LookupError: Too few clips are long enough and lack what is asked for.
        """
        groups = [edits.select([name.strip() for name in part.split("+")]) for part in wanted.split(",")]
        taken = []
        for group in each(islice(cycle(groups), number), "choose clips", total=number):
            clip = self._next(group)
            labels = {} if self._labels is None else self._labels.get(clip.key, {})
            # Without annotations the categories' own phrases say more than "a person" would.
            prompts = compose(write_caption(labels) if labels else "", group)
            name = "+".join(category.name for category in group)
            taken.append(replace(clip, category=name, source=prompts.source, target=prompts.target))
        return tuple(taken)

    def take(self, number: int) -> tuple[ClipSpec, ...]:
        """Take clips of full length for the gallery.

        Raises:
            LookupError: Too few are long enough.
        """
        return tuple(self._next(()) for _ in each(range(number), "choose originals"))

    def rest(self) -> tuple[ClipSpec, ...]:
        """Take all that is left and readable, in the order of their keys, as long as they are.

        Only headers are read and nothing is hashed: the whole of CelebV-HQ would take hours.
        """
        clips = []
        for key in each(sorted(self._left), "gallery"):
            clip = self._left[key]
            if _source(key) in self._sources:
                self.notes.append(f"{clip.video}: of the same YouTube video as a chosen clip")
                continue
            try:
                seconds = declared_seconds(self._videos / clip.video)
            except ValueError as error:
                self.notes.append(str(error))
                continue
            frames = min(clip.frames, int(seconds * clip.fps + 1e-6))
            if frames:
                clips.append(replace(clip, frames=frames))
            else:
                self.notes.append(f"{clip.video}: shorter than a frame at {clip.fps:g} fps")
        return tuple(clips)

    def _next(self, group: Sequence[Category]) -> ClipSpec:
        """Take the next clip of full length and a new YouTube video, to which all categories apply."""
        for clip in list(self._left.values()):
            if _source(clip.key) in self._sources or clip.key in self._short or not self._fits(clip, group):
                continue
            try:
                whole = is_long_enough(self._videos / clip.video, clip)
            except ValueError as error:
                self.notes.append(str(error))
                del self._left[clip.key]
                continue
            if not whole:
                self._short.add(clip.key)
                continue
            del self._left[clip.key]
            self._sources.add(_source(clip.key))
            return replace(clip, sha256=sha256(self._videos / clip.video))
        what = f" and can be edited with {' and '.join(each.name for each in group)}" if group else ""
        raise LookupError(
            f"{self._videos}: after {len(self._sources)} clips no other is long enough{what}; "
            f"{len(self._short)} are too short. Ask for fewer or shorter clips, or bring more videos"
        )

    def _fits(self, clip: ClipSpec, group: Sequence[Category]) -> bool:
        if self._labels is None:
            return True
        labels = self._labels.get(clip.key, {})
        return all(category.applies_to(labels) for category in group)

    def _specs(self, frames: int, fps: float, size: int) -> Iterator[ClipSpec]:
        """Yield a clip of full length of every video in the folder, whether or not it is that long."""
        found = sorted(path for path in self._videos.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(f"{self._videos}: no videos in it ({', '.join(SUFFIXES)})")
        template = ClipSpec("x", "x", None, 0.0, frames, fps, size, None, None, None, "x")
        seen: set[str] = set()
        for path in found:
            name = path.relative_to(self._videos).as_posix()
            if path.stem.lower() in seen:
                self.notes.append(f"{name}: another video has this name")
                continue
            try:
                yield replace(template, key=path.stem, video=name, identity=path.stem)
            except ValueError as error:
                self.notes.append(str(error))
                continue
            seen.add(path.stem.lower())


def _source(key: str) -> str:
    """Return the YouTube video that a clip is from; for other names, the clip itself."""
    match = _YOUTUBE.fullmatch(key)
    return key if match is None else match.group(1)
