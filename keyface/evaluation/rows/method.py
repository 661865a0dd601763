"""Whose outputs are scored: a folder of videos named after the clips."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from keyface.evaluation.clip_sets.sampling import whole_video
from keyface.evaluation.clip_sets.spec import ClipSpec

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
"""What a method's outputs may be named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")


def check_name(name: str) -> None:
    """Raise ValueError unless this can name a row, and the folder of its outputs."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"method name {name!r:.80}: begin with a letter or digit, then letters, digits, "
            "spaces, '.', '_', '+', '-'; at most 60"
        )


@dataclass(frozen=True)
class Method:
    """A method's outputs, one video a clip: what `--method NAME=DIR` names.

    Attributes:
        name: Its row's name.
        folder: Where its videos are, named after the clips' keys.

    Raises:
        ValueError: The name is empty or would be taken for a calibration row.
        NotADirectoryError: There is no such folder.
    """

    name: str
    folder: Path

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.folder.is_dir():
            raise NotADirectoryError(f"--method {self.name}={self.folder}: no such folder")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAME=DIR."""
        name, equals, folder = text.partition("=")
        if not equals or not folder:
            raise ValueError(f"--method {text!r:.120}: give NAME=DIR, for instance stit=outputs/stit")
        return cls(name.strip(), Path(folder))

    def video_of(self, clip: ClipSpec) -> Path | None:
        """Return the method's output for a clip; None where there is none.

        Raises:
            ValueError: There are two, and which one counts is not clear.
        """
        found = [path for suffix in SUFFIXES if (path := self.folder / f"{clip.key}{suffix}").is_file()]
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise ValueError(f"{self.folder}: both {names}; leave one of them")
        return found[0] if found else None

    def frames_of(self, clip: ClipSpec) -> Tensor:
        """Return the edited frames, (T, 3, S, S) in [-1, 1].

        Raises:
            FileNotFoundError: The method has no output for the clip.
            ValueError: It is damaged, or differs in length or size from the original.
        """
        path = self.video_of(clip)
        if path is None:
            raise FileNotFoundError(f"{self.folder}: no {clip.key}{'|'.join(SUFFIXES)} in it")
        return whole_video(path, clip)
