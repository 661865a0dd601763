"""The clips of a batch, all checked before the first is edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyface.batch.manifest import Row
from keyface.batch.options import checked_options, clip_request, combined
from keyface.claims.batch import REPORT, WORK, Batch, Clip
from keyface.pipeline.request.request import VideoRequest
from keyface.video.formats import FORMATS, STILL_SUFFIXES


def make_batch(
    manifest: Path,
    rows: Sequence[Row],
    common: Mapping[str, Any],
    folder: Path,
    networks: Mapping[str, Any],
    *,
    overwrite: bool = False,
    faults: Iterable[str] = (),
    tell: Callable[[str], None] = lambda line: None,
    each: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> Batch:
    """Check all clips of a manifest and put the longest first.

    What an earlier call in the same folder has checked is not checked again.

    Args:
        manifest: For messages.
        rows: The clips.
        common: Checked options of all of them.
        folder: Of the outputs.
        networks: As of `Batch`.
        overwrite: Whether outputs may be there that this batch has not written.
        faults: What is wrong already, a line each.
        tell: Told a line for each fault.
        each: Goes through the rows, and may show it.

    Raises:
        ValueError: There are faults.
    """
    wrong, clips = list(faults), []
    known = _known(folder)
    names = _Names(folder)
    for row in each(rows):
        try:
            clips.append(_checked(row, common, folder, networks, overwrite, known, names))
        except (ValueError, LookupError, OSError) as error:
            text = error.args[0] if isinstance(error, LookupError) and error.args else error
            line = " ".join(str(text).split())
            wrong.append(line if line.startswith(row.where) else f"{row.where}: {line}")
    videos = {Path(clip.video) for clip in clips}
    wrong += [f"{where}: {path} is the input of a clip" for path, where in names if path in videos]
    for line in wrong:
        tell(line)
    if wrong:
        count = f"{len(wrong)} fault{'s' if len(wrong) > 1 else ''}"
        raise ValueError(f"{manifest}: {count}; nothing was edited")
    clips.sort(key=lambda clip: -clip.work)
    return Batch(folder, str(manifest), networks, tuple(clips))


class _Names:
    """The files that clips write, each of which one clip may write."""

    def __init__(self, folder: Path) -> None:
        self._taken: dict[Path, str] = {(folder / REPORT).resolve(): "the report"}
        self._rows: dict[Path, str] = {}

    def take(self, paths: Iterable[Path], where: str) -> None:
        for path in paths:
            full = path.resolve()
            if full in self._taken:
                raise ValueError(
                    f"{where}: writes {path}, and so does {self._taken[full]}; give another output"
                )
            self._taken[full] = self._rows[full] = where

    def __iter__(self) -> Iterator[tuple[Path, str]]:
        return iter(self._rows.items())


def _checked(
    row: Row,
    common: Mapping[str, Any],
    folder: Path,
    networks: Mapping[str, Any],
    overwrite: bool,
    known: Mapping[str, Clip],
    names: _Names,
) -> Clip:
    """Return a clip, after everything that can be checked without networks."""
    options = combined(common, checked_options(row.options, row.where))
    video = row.video.resolve()
    name = row.output if row.output is not None else default_output(video)
    for option, given in (
        ("output", name),
        *((each, options.get(each)) for each in ("compare", "mask_video")),
    ):
        if given is not None:
            _require_inside(option, given)
    key = _key(str(video), name, options, networks)
    output = folder / name
    targets = [output, output.with_suffix(".json")]
    names.take(
        [*targets, *(folder / options[each] for each in ("compare", "mask_video") if each in options)],
        row.where,
    )
    if (clip := known.get(key)) is not None and video.is_file():
        return Clip(key, row.where, clip.video, name, options, clip.work)
    ours = Batch(folder, "", {}, ()).begun(key).exists()
    request = clip_request(video, output, options, folder, overwrite=overwrite or ours)
    return Clip(key, row.where, str(video), name, options, _work(request))


def default_output(video: Path) -> str:
    """Return the name of a clip's output where none is given: its own, with a suffix that can be written."""
    suffix = video.suffix.lower()
    return f"{video.stem}{suffix if suffix in (*FORMATS, *STILL_SUFFIXES) else '.mp4'}"


def _require_inside(option: str, name: str) -> None:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or WORK in path.parts or not path.name:
        raise ValueError(f"{option} {name!r}: give a name inside the folder of the outputs")


def _work(request: VideoRequest) -> float:
    """Return about how many pixels the frames have together, by the file's own word for its length."""
    reader = request.reader
    return float(reader.declared_frames * reader.height * reader.width)


def _key(video: str, output: str, options: Mapping[str, Any], networks: Mapping[str, Any]) -> str:
    content = json.dumps([video, output, options, networks], sort_keys=True, default=str)
    return hashlib.sha256(content.encode(errors="backslashreplace")).hexdigest()[:16]


def _known(folder: Path) -> dict[str, Clip]:
    """Return the clips that were checked before, by key."""
    try:
        return {clip.key: clip for clip in Batch.load(folder).clips}
    except FileNotFoundError:
        return {}
