"""One clip of a clip set: which frames of which video, who is in it, and what is to be edited."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PureWindowsPath
from typing import Any, Self

from keyface.plugins import Category, edits
from keyface.untrusted import is_finite_number

MAX_FRAMES = 100_000
MAX_SIZE = 8192
MAX_FPS = 240.0

_KEY = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}")
_HASH = re.compile(r"[0-9a-f]{64}")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ClipSpec:
    """Which frames of which video make one clip.

    Attributes:
        key: The clip's name and the stem of its files: letters, digits, ".", "_" and "-", no leading dot.
        video: Path of the video below the clip set's folder, with forward slashes.
        sha256: The video file's SHA-256 in lower-case hex; None where it is not known.
        start: Time of the first frame, in seconds from the video's first.
        frames: How many frames are scored.
        fps: Frames a second at which the video is sampled.
        size: Side in pixels of the square that frames are cropped and resized to.
        category: The edit category, or several joined by "+"; None where the clip is only looked up.
        source: Prompt of the clip as it is.
        target: Prompt of the clip as it is to be.
        identity: Who is in it; clips with equal identities show the same person.
        box: Part of each frame that is used, as left, top, right, bottom in pixels; None uses all. What is
            not square is cropped to its middle.

    Raises:
        ValueError: A value is of the wrong type or out of range; the message names clip and field.
    """

    key: str
    video: str
    sha256: str | None
    start: float
    frames: int
    fps: float
    size: int
    category: str | None
    source: str | None
    target: str | None
    identity: str
    box: Box | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not _KEY.fullmatch(self.key):
            raise ValueError(
                f"clip key {self.key!r:.120}: use letters, digits, '.', '_' and '-', no leading dot, "
                "at most 200 of them"
            )
        self._check_texts()
        self._check_path()
        self._whole("frames", 1, MAX_FRAMES)
        self._whole("size", 2, MAX_SIZE)
        self._real("start", 0.0, 1e7)
        self._real("fps", 1e-3, MAX_FPS)
        if self.box is not None:
            self._check_box(self.box)

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the names of all edits that are asked for at once."""
        return tuple(self.category.split("+")) if self.category is not None else ()

    def known_categories(self) -> list[Category] | None:
        """Return the categories of all edits that are asked for at once; None if one is unknown here."""
        names = self.categories
        return edits.select(names) if names and all(name in edits for name in names) else None

    @property
    def seconds(self) -> float:
        """Return how long the clip lasts."""
        return self.frames / self.fps

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Make a clip of a JSON object that has exactly this class's fields.

        Raises:
            ValueError: It has not, or a value is out of range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict):
            raise ValueError(f"a clip must be a JSON object, not {content!r:.60}")
        key = content.get("key")
        missing, unknown = sorted(names - content.keys()), sorted(content.keys() - names)
        if missing or unknown:
            what = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(unknown)}"
            raise ValueError(f"clip {key!r:.120} {what:.200}")
        values: dict[str, Any] = dict(content)
        if isinstance(values["box"], list):
            values["box"] = tuple(values["box"])
        return cls(**values)

    def to_json(self) -> Mapping[str, object]:
        """Return the fields as JSON takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _check_texts(self) -> None:
        for name in ("sha256", "category", "source", "target"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.strip() and value.isprintable()):
                raise ValueError(f"clip {self.key}: {name} is {value!r:.80}, it must be text or null")
        if not isinstance(self.identity, str) or not self.identity.strip() or not self.identity.isprintable():
            raise ValueError(f"clip {self.key}: identity is {self.identity!r:.80}, it must be text")
        if self.sha256 is not None and not _HASH.fullmatch(self.sha256):
            raise ValueError(f"clip {self.key}: sha256 is {self.sha256!r:.80}, it must be 64 hex digits")

    def _check_path(self) -> None:
        path = self.video
        if (
            not isinstance(path, str)
            or not path.isprintable()
            or "\\" in path
            or PureWindowsPath(path).drive
            or not all(part and part not in {".", ".."} for part in path.split("/"))
        ):
            raise ValueError(
                f"clip {self.key}: video is {path!r:.120}, it must be a path below the clip set's folder, "
                "with forward slashes and without '..'"
            )

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"clip {self.key}: {name} is {value!r:.80}, it must be a whole number from {low} to {high}"
            )

    def _real(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not is_finite_number(value) or not low <= value <= high:
            raise ValueError(
                f"clip {self.key}: {name} is {value!r:.80}, it must be a number from {low:g} to {high:g}"
            )
        object.__setattr__(self, name, float(value))

    def _check_box(self, box: object) -> None:
        if not isinstance(box, tuple) or len(box) != 4 or not all(map(is_finite_number, box)):
            raise ValueError(
                f"clip {self.key}: box is {box!r:.80}, it must be left, top, right, bottom in pixels"
            )
        left, top, right, bottom = map(float, box)
        if min(left, top) < 0 or right - left < 2 or bottom - top < 2:
            raise ValueError(f"clip {self.key}: box {box} is empty or begins outside the frame")
        object.__setattr__(self, "box", (left, top, right, bottom))
