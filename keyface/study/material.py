"""The videos that a study is made of: found, and looked at before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyface.evaluation.rows.method import Method
from keyface.progress import each
from keyface.study.protocol import Clip, Protocol
from keyface.study.stimuli import Seen, look_at

MOST_METHODS = 20

_SAME_LENGTH = 0.25, 0.02
"""Seconds, and part of the source's length, by which an edit may be shorter or longer."""

_SAME_ASPECT = 0.02


@dataclass(frozen=True)
class Material:
    """The videos of one clip, all of which were looked at.

    Attributes:
        clip: Which clip.
        source: Before the edit.
        edits: Method → after it.
    """

    clip: Clip
    source: Seen
    edits: Mapping[str, Seen]

    @property
    def encoded(self) -> bool:
        """Tell whether browsers do not play one of the videos; then all are encoded, for the same quality."""
        return not all(seen.plays for seen in (self.source, *self.edits.values()))


def parse_methods(texts: Sequence[str]) -> list[Method]:
    """Read NAME=FOLDER of each method.

    Raises:
        ValueError: One is of another form, or two have one name.
        NotADirectoryError: There is no such folder.
    """
    methods = []
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not folder:
            raise ValueError(f"--methods {text!r:.120}: give NAME=FOLDER, for instance ours=outputs/ours")
        if not Path(folder).is_dir():
            raise NotADirectoryError(f"--methods {text}: there is no folder {folder}")
        methods.append(Method(name.strip(), Path(folder)))
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--methods: {name} is given twice; each method needs a name of its own")
    if len(methods) > MOST_METHODS:
        raise ValueError(f"--methods: {len(methods)} are given; at most {MOST_METHODS} can be compared")
    return methods


def gather(protocol: Protocol, methods: Sequence[Method]) -> list[Material]:
    """Find and look at all videos of a study.

    Raises:
        FileNotFoundError: Videos are missing; one line names all of them.
        ValueError: A video cannot be read, or an edit is longer, shorter or of another shape than its source.
    """
    found = {(clip.id, method.name): _edit_of(clip, method) for clip in protocol.clips for method in methods}
    lacking = [
        f"{method.name} ({method.folder}) lacks {', '.join(missing)}"
        for method in methods
        if (missing := [clip.id for clip in protocol.clips if found[clip.id, method.name] is None])
    ]
    lacking += [
        f"the source of {clip.id}, {clip.source}" for clip in protocol.clips if not clip.source.is_file()
    ]
    if lacking:
        raise FileNotFoundError(f"videos are missing: {'; '.join(lacking)}; name each CLIP_ID.mp4")
    gathered = []
    for clip in each(protocol.clips, "check clips"):
        source = look_at(clip.source)
        edits = {}
        for method in methods:
            path = found[clip.id, method.name]
            assert path is not None
            edits[method.name] = _fitting(look_at(path), source)
        gathered.append(Material(clip, source, edits))
    return gathered


def _edit_of(clip: Clip, method: Method) -> Path | None:
    """Return a method's video of a clip."""
    found = [
        path
        for suffix in (".mp4", ".m4v", ".mov", ".mkv", ".webm")
        if (path := method.folder / f"{clip.id}{suffix}").is_file()
    ]
    if len(found) > 1:
        raise ValueError(
            f"{method.folder}: both {' and '.join(path.name for path in found)}; leave one of them"
        )
    return found[0] if found else None


def _fitting(edit: Seen, source: Seen) -> Seen:
    """Return the edit, which lasts as long as its source and has its shape."""
    seconds, part = _SAME_LENGTH
    if abs(edit.seconds - source.seconds) > max(seconds, part * source.seconds):
        raise ValueError(
            f"{edit.path}: lasts {edit.seconds:.2f} s, and its source {source.path} {source.seconds:.2f} s; "
            "raters see both side by side, so cut the longer one"
        )
    if abs(edit.aspect / source.aspect - 1) > _SAME_ASPECT:
        raise ValueError(
            f"{edit.path}: is {edit.aspect:.2f} times as wide as high, and its source {source.path} "
            f"{source.aspect:.2f} times; the source must be what was edited, cut in the same way"
        )
    return edit
