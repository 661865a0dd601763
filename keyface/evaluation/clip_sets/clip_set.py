"""Clip sets: which clips are edited, and which are only looked up.

A clip set is a JSON file, `protocol.json`, so that another lab can score the same frames of the same videos.
It may come from anybody: names never become paths outside its folder, and every value is checked.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from keyface.evaluation.clip_sets.sampling import sampled_frames
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.files import digest
from keyface.files import sha256, write_text
from keyface.progress import each
from keyface.untrusted import read_json
from keyface.video import write_clip

SCHEMA = "keyface-clips/1"
_MAX_BYTES = 512 * 2**20
_FIELDS = {"schema", "name", "seed", "made_by", "edited", "gallery"}


@dataclass(frozen=True)
class ClipSet:
    """The clips of an evaluation.

    Attributes:
        name: The protocol's name.
        seed: What chose the clips.
        made_by: The program and the options that made the set, for people.
        edited: The clips to edit: each edit is a query, and each original is in the gallery too.
        gallery: Further clips of the gallery.
        folder: Where the clips' videos are.

    Raises:
        ValueError: Two clips have one key, or no clip is edited.
    """

    name: str
    seed: int
    made_by: str
    edited: tuple[ClipSpec, ...]
    gallery: tuple[ClipSpec, ...]
    folder: Path

    def __post_init__(self) -> None:
        for name in ("name", "made_by"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip() or not value.isprintable():
                raise ValueError(f"{name} is {value!r:.80}, it must be a line of text")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"seed is {self.seed!r:.80}, it must be a whole number")
        if not self.edited:
            raise ValueError("no clip is edited: there is nothing to score")
        seen: set[str] = set()
        for clip in self.clips:
            # Some file systems do not tell upper from lower case, and files are named after keys.
            if clip.key.lower() in seen:
                raise ValueError(f"clip {clip.key}: its key occurs twice")
            seen.add(clip.key.lower())
        for clip in self.edited:
            if clip.category is None:
                raise ValueError(f"clip {clip.key}: an edited clip needs a category")

    @property
    def clips(self) -> tuple[ClipSpec, ...]:
        """Return all clips whose originals are in the gallery: the edited ones first."""
        return (*self.edited, *self.gallery)

    @classmethod
    def read(cls, path: Path, videos: Path | None = None) -> Self:
        """Read a clip set.

        Args:
            path: The JSON file that `write` wrote.
            videos: Folder of the videos, where it is not the file's own.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not a clip set; the message says what is wrong where.
        """
        missing = "no such clip set; `keyface evaluate --protocol miniature` makes one"
        content = read_json(path, missing=missing, limit=_MAX_BYTES)
        try:
            return cls._from_json(content, path.parent if videos is None else videos)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write the clip set as JSON, whole or not at all; its folder is not written."""
        head = json.dumps(self._head(), indent=1, ensure_ascii=False)[:-2]
        lists = [f' "{name}": {_lines(clips)}' for name, clips in self._lists()]
        write_text(path, ",\n".join([head, *lists]) + "\n}\n")

    def digest(self) -> str:
        """Return the SHA-256, in hex, of all that the file says; the folder does not count."""
        lists = {name: [clip.to_json() for clip in clips] for name, clips in self._lists()}
        return digest(self._head() | lists)

    def video_of(self, clip: ClipSpec) -> Path:
        """Return the video that a clip is taken from.

        Raises:
            FileNotFoundError: It is not there.
        """
        path = self.folder / clip.video
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: the video of clip {clip.key} is missing; name the folder of the videos"
            )
        return path

    def require_videos(self) -> None:
        """Refuse a clip set of which a video is missing, before hours are spent on the others.

        Raises:
            FileNotFoundError: Names the first clip without a video and says how many there are.
        """
        missing = [clip for clip in self.clips if not (self.folder / clip.video).is_file()]
        if not missing:
            return
        first, others = missing[0], len(missing) - 1
        more = f", and those of {others} more clips" if others else ""
        raise FileNotFoundError(
            f"{self.folder / first.video}: the video of clip {first.key} is missing{more}; name the folder "
            "of the videos, or make a clip set of those that are there"
        )

    def frames_of(self, clip: ClipSpec) -> Tensor:
        """Return the frames of the original, (T, 3, S, S) in [-1, 1].

        Raises:
            FileNotFoundError: The video is missing.
            ValueError: It is damaged, too short, or not the file whose hash the set names.
        """
        path = self.video_of(clip)
        if clip.sha256 is not None and sha256(path) != clip.sha256:
            raise ValueError(
                f"{path}: not the video that the clip set was made with (SHA-256 differs); "
                "get that version, or make a clip set of yours"
            )
        return sampled_frames(path, clip)

    def limited(self, limit: int | None) -> Self:
        """Return the clip set with its first edited clips alone to score; the others stay in the gallery.

        Args:
            limit: How many; None leaves all.

        Raises:
            ValueError: It is below 1.
        """
        check_limit(limit)
        if limit is None:
            return self
        return replace(self, edited=self.edited[:limit], gallery=(*self.edited[limit:], *self.gallery))

    def of_edits(self, wanted: str) -> Self:
        """Return the clip set with the clips of some edits alone to score; the others stay in the gallery.

        Args:
            wanted: Categories separated by commas; those that clips ask for at once are joined by "+".

        Raises:
            ValueError: No clip asks for one of them.
        """
        names = ["+".join(map(str.strip, group.split("+"))) for group in wanted.split(",")]
        known = dict.fromkeys(clip.category for clip in self.edited)
        if lacking := [name for name in names if name not in known]:
            raise ValueError(
                f"--edits {', '.join(lacking)}: no clip of {self.name} is edited so; "
                f"there are {', '.join(filter(None, known))}"
            )
        chosen = tuple(clip for clip in self.edited if clip.category in names)
        others = tuple(clip for clip in self.edited if clip.category not in names)
        return replace(self, edited=chosen, gallery=(*others, *self.gallery))

    def write_originals(self, folder: Path) -> None:
        """Write every edited clip's original as KEY.mp4, sampled, cropped and resized as it is scored.

        A method whose outputs of these files are named after them can be scored with `--method NAME=DIR`.

        Args:
            folder: Where to; made if need be.

        Raises:
            FileNotFoundError: A video is missing.
            ValueError: A video is damaged, or not the one that the set names.
        """
        for clip in each(self.edited, "write originals"):
            rate = Fraction(clip.fps).limit_denominator(1001)
            write_clip(folder / f"{clip.key}.mp4", self.frames_of(clip), rate)

    @classmethod
    def _from_json(cls, content: object, folder: Path) -> Self:
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else None
            raise ValueError(f"schema is {found!r:.60}, this version of keyface reads {SCHEMA!r}")
        if content.keys() != _FIELDS:
            odd = ", ".join(sorted(content.keys() ^ _FIELDS))
            raise ValueError(f"fields missing or unknown: {odd:.200}")
        lists = {name: content[name] for name in ("edited", "gallery")}
        for name, clips in lists.items():
            if not isinstance(clips, list):
                raise ValueError(f"{name} is {clips!r:.60}, it must be a list of clips")
        edited, gallery = (tuple(map(ClipSpec.from_json, clips)) for clips in lists.values())
        return cls(content["name"], content["seed"], content["made_by"], edited, gallery, folder)

    def _head(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "name": self.name, "seed": self.seed, "made_by": self.made_by}

    def _lists(self) -> tuple[tuple[str, tuple[ClipSpec, ...]], ...]:
        return ("edited", self.edited), ("gallery", self.gallery)


def _lines(clips: Iterable[ClipSpec]) -> str:
    """Return a JSON list with one clip a line, so that two versions of a set can be compared with diff."""
    lines = (json.dumps(clip.to_json(), ensure_ascii=False, allow_nan=False) for clip in clips)
    return "[" + ",".join(chain.from_iterable(("\n  " + line,) for line in lines)) + "\n ]"


def check_limit(limit: int | None) -> None:
    """Raise ValueError where a number of clips to score is below 1; None is all of them."""
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit}: at least one clip must be scored")
