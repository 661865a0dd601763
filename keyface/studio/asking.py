"""What a user of the page, or a program, asks for: checked options of `keyface edit`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyface.batch.options import checked_options, clip_request
from keyface.pipeline.request.casting import EVERYONE
from keyface.pipeline.request.request import VideoRequest
from keyface.studio.limits import Limits
from keyface.video.formats import STILL_SUFFIXES

OUTPUT, MASK = "edited.mp4", "mask.mp4"

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
"""Files that can be uploaded."""


def options_of(
    limits: Limits,
    *,
    edits: Sequence[str] = (),
    prompt: str = "",
    source: str = "",
    person: str = "1",
    strength: float | None = None,
    guidance: float | None = None,
    steps: float | None = None,
    seed: float | None = None,
) -> dict[str, Any]:
    """Return the options of an edit, without those that say nothing.

    Args:
        limits: Of words.
        edits: Names of categories.
        prompt: What the clip shall show, instead of categories.
        source: What it shows.
        person: A number, or one of `EVERYONE`; no path of a photo.
        strength: As of `keyface edit`; None leaves it to the weights and the categories.
        guidance: Likewise.
        steps: Likewise.
        seed: Likewise.

    Raises:
        ValueError: A value does not fit, or the words are too long.
    """
    person = str(person or "1").strip()
    if person not in EVERYONE and not (person.isdecimal() and len(person) < 5):
        raise ValueError(f"person is {person[:40]!r}; it must be a number, or one of {', '.join(EVERYONE)}")
    if not isinstance(edits, list | tuple) or not all(isinstance(each, str) for each in edits):
        raise ValueError('edits must be a list of names, as in ["glasses", "beard"]')
    if any(set(name) & set(",;:") for name in edits):
        raise ValueError("edits: give each category as an item of its own")
    for name, text in (("prompt", prompt), ("source", source), ("edits", ",".join(edits))):
        if len(text or "") > limits.characters:
            raise ValueError(f"{name} has {len(text)} characters; at most {limits.characters} are taken")
    words: dict[str, Any] = {
        "prompt": (prompt or "").strip(),
        "source": (source or "").strip(),
        "edits": list(edits),
    }
    numbers = {
        "strength": None if strength is None else float(strength),
        "guidance": None if guidance is None else float(guidance),
        "steps": _whole(steps, "steps"),
        "seed": _whole(seed, "seed"),
    }
    given = {name: value for name, value in words.items() if value}
    amounts = {name: value for name, value in numbers.items() if value is not None}
    return checked_options({**given, **amounts, "person": person}, "the edit")


def request_of(clip: Path, folder: Path, options: Mapping[str, Any], limits: Limits) -> VideoRequest:
    """Return the request for an edit, whose files go into a folder of its own.

    Raises:
        ValueError: It does not fit together, or the clip cannot be used or is too long or too large.
    """
    request = clip_request(clip, folder / OUTPUT, {**options, "mask_video": MASK}, folder, overwrite=True)
    require_small(request, limits)
    return request


def preview_of(clip: Path, picture: Path, options: Mapping[str, Any], limits: Limits) -> VideoRequest:
    """Return the request for a preview, see `request_of`.

    Args:
        clip: The clip.
        picture: A name that ends in .png; nothing is written there.
        options: Checked ones.
        limits: Of clips.

    Raises:
        ValueError: As of `request_of`.
    """
    request = clip_request(clip, picture, options, picture.parent, preview=picture)
    require_small(request, limits)
    return request


def require_small(request: VideoRequest, limits: Limits) -> None:
    """Refuse a clip that is longer or larger than the studio takes.

    Raises:
        ValueError: It is, or it is a picture.
    """
    reader, name = request.reader, request.video.name
    if request.video.suffix.lower() in STILL_SUFFIXES:
        raise ValueError(f"{name}: is a picture; the studio takes videos, `keyface edit` takes both")
    pixels = reader.width * reader.height / 1e6
    if pixels > limits.megapixels:
        raise ValueError(
            f"{name}: frames of {reader.width} by {reader.height} have {pixels:.1f} megapixels; at most "
            f"{limits.megapixels:g} are taken"
        )
    seconds = len(reader) / float(reader.fps)
    if seconds > limits.seconds:
        raise ValueError(f"{name}: is {seconds:.1f} s long; at most {limits.seconds:g} s are taken")


def command_of(clip: Path, folder: Path, options: Mapping[str, Any], networks: Mapping[str, Any]) -> str:
    """Return the `keyface edit` command line that makes the same edit, or goes on with it."""
    words = ["keyface", "edit", str(clip), "-o", str(folder / OUTPUT), "--mask-video", str(folder / MASK)]
    for name, value in {**options, **networks}.items():
        if value is not None:
            words += [f"--{name}", ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join([*words, "--overwrite"])


def _whole(value: float | None, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or float(value) != int(value):
        raise ValueError(f"{name} is {value}; it must be a whole number")
    return int(value)
