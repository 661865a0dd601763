"""What a user asks for: which video, what is to change, and where it goes; checked before anything slow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from keyface.editing.settings import given_settings
from keyface.files import require_file_name, sha256
from keyface.pipeline.square import Crop
from keyface.plugins import Category, edits
from keyface.plugins.compose import refuse_conflicts
from keyface.resume.session import require_free
from keyface.video import VideoReader
from keyface.video.writer import require_container


@dataclass(frozen=True)
class VideoRequest:
    """Ask for an edit of a video file.

    Making one checks everything that needs no networks, and opens the video.

    Attributes:
        video: The video to edit: mp4, mov, mkv, webm or avi.
        output: The video to write: .mp4, .m4v, .mov or .mkv. Its record goes beside it, as .json.
        edits: Categories that are applied together: objects, names, or names as "glasses,beard". Either these
            or `prompt`.
        prompt: What the clip shall show, in words.
        source: What the clip shows now, in words; None leaves that to the pipeline's captioner.
        negative: What guidance moves away from; None is the source caption.
        settings: Values of `EditSettings` that differ from the weights' defaults and from what the categories
            ask for.
        compare: Where to write a video of original and result side by side.
        crop: The square to edit, or "x,y,size" in pixels; None is the largest in the middle.
        max_seconds: Edit only the first so many seconds.
        on_corrupt: Stop at damaged frames (`error`), or `hold` the last good one.
        overwrite: Replace existing output files.
        resume: Only go on with an edit that was stopped; without it that is done where there is one.
        restart: Begin anew although an edit of this output was stopped.

    Raises:
        ValueError: The request does not fit together, or the video cannot be used.
        FileNotFoundError: There is no such video.
    """

    video: Path
    output: Path
    edits: str | Sequence[str | Category] = ()
    prompt: str | None = None
    source: str | None = None
    negative: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    compare: Path | None = None
    crop: Crop | str | None = None
    max_seconds: float | None = None
    on_corrupt: Literal["error", "hold"] = "error"
    overwrite: bool = False
    resume: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        self._check_words()
        given_settings(self.settings)
        if self.max_seconds is not None and not (math.isfinite(self.max_seconds) and self.max_seconds > 0):
            raise ValueError(f"--max-seconds is {self.max_seconds:g}; it must be a number above 0")
        self._check_targets()
        self._check_stopped()
        _ = self.square

    @property
    def record(self) -> Path:
        """Return where the record of the edit goes."""
        return self.output.with_suffix(".json")

    @property
    def state(self) -> Path:
        """Return the folder that keeps what is done until the output is complete."""
        return self.output.with_name(f"{self.output.name}.state")

    @cached_property
    def categories(self) -> list[Category]:
        """Return the categories that are edited together."""
        asked = self.edits
        if isinstance(asked, str):
            asked = [name.strip() for name in asked.split(",") if name.strip()]
        chosen = [edits[each] if isinstance(each, str) else each for each in asked]
        refuse_conflicts(chosen)
        return chosen

    @cached_property
    def reader(self) -> VideoReader:
        """Return the opened video."""
        return VideoReader(self.video, on_corrupt=self.on_corrupt, max_seconds=self.max_seconds)

    @cached_property
    def square(self) -> Crop:
        """Return the square that is edited."""
        height, width = self.reader.height, self.reader.width
        if self.crop is None:
            return Crop.centre(height, width)
        if isinstance(self.crop, str):
            return Crop.parse(self.crop, height, width)
        self.crop.require_inside(height, width)
        return self.crop

    @cached_property
    def sha256(self) -> str:
        """Return the hash of the video, which is computed once."""
        return sha256(self.video)

    def _check_words(self) -> None:
        if bool(self.edits) == (self.prompt is not None):
            raise ValueError(
                "say what to change, by either --edits NAME,... or --prompt TEXT, one of the two"
            )
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("--prompt is empty; say what the clip shall show")
        if self.source is not None and not self.source.strip():
            raise ValueError("--source is empty; say what the clip shows")
        _ = self.categories

    def _check_targets(self) -> None:
        require_container(self.output, "-o/--output")
        targets = {"-o/--output": self.output, "its record": self.record}
        if self.compare is not None:
            targets["--compare"] = self.compare
        if len({target.resolve() for target in targets.values()}) < len(targets):
            raise ValueError(f"output files must differ: {', '.join(map(str, targets.values()))}")
        for option, target in targets.items():
            if target != self.record:
                require_container(target, option)
            if target.exists() and self.video.exists() and target.samefile(self.video):
                raise ValueError(f"{target}: is the input, which is never overwritten; give another name")
            require_file_name(target)
            if target.exists() and not self.overwrite:
                raise ValueError(f"{target}: exists; give another name, or --overwrite to replace it")

    def _check_stopped(self) -> None:
        if self.resume and self.restart:
            raise ValueError("--resume goes on and --restart begins anew; give one of the two")
        if self.resume and not self.state.is_dir():
            raise ValueError(
                f"{self.state}: no such folder, so no edit of {self.output} was stopped; leave --resume out"
            )
        require_free(self.state)
