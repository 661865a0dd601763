"""Kinds of files that C2PA reads and writes, told by their first bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        mime: Its name for C2PA.
        embeds: Whether it can hold content credentials; they stand in a file beside it otherwise.
    """

    mime: str
    embeds: bool = True


KINDS: Mapping[str, Kind] = {
    ".mp4": Kind("video/mp4"),
    ".m4v": Kind("video/x-m4v"),
    ".mov": Kind("video/quicktime"),
    ".avi": Kind("video/avi"),
    ".png": Kind("image/png"),
    ".jpg": Kind("image/jpeg"),
    ".jpeg": Kind("image/jpeg"),
    ".webp": Kind("image/webp"),
    ".mkv": Kind("video/x-matroska", embeds=False),
    ".webm": Kind("video/webm", embeds=False),
}

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x1a\x45\xdf\xa3", ".mkv"),
)
_RIFF = {b"WEBP": ".webp", b"AVI ": ".avi"}
_LIKE_MP4 = (".mp4", ".m4v", ".mov")


def kind_of(path: Path) -> Kind:
    """Return the kind of a file that exists: what its content says, else what its name says.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(12)
    found = next((kind for begin, kind in _BEGINNINGS if head.startswith(begin)), None)
    if found is None and head[:4] == b"RIFF":
        found = _RIFF.get(head[8:12])
    if found is None and head[4:8] == b"ftyp":
        found = suffix if suffix in _LIKE_MP4 else ".mp4"
    kind = KINDS.get(found or suffix)
    if kind is None:
        raise ValueError(f"{path}: neither a video nor a picture of a known kind ({', '.join(KINDS)})")
    return kind


def sidecar_of(path: Path) -> Path:
    """Return the file with the credentials of one that cannot hold them, named as C2PA does."""
    return path.with_suffix(".c2pa")


def holds_credentials(path: Path) -> bool:
    """Tell whether a file that is to be written, with a name of `KINDS`, can hold its credentials."""
    return KINDS[path.suffix.lower()].embeds
