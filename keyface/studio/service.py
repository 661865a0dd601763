"""What the page and other programs can ask the studio for; everything that comes in is checked here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from keyface.files import replacing
from keyface.studio.asking import SUFFIXES, command_of, options_of, preview_of
from keyface.studio.engine import Engine, Pair, Seen
from keyface.studio.jobs import Job
from keyface.studio.limits import Limits
from keyface.studio.queue import Queue
from keyface.studio.workspace import BUILT_IN, PICTURES, Workspace

Say = Callable[[str], None]

BUILT_IN_SECONDS, BUILT_IN_FPS, BUILT_IN_SIDE = 2.0, 12, 256
LACKED = ("glasses", "beard", "smile")
"""Categories that the person of the built-in clip can take, all of them."""

PLAIN = {
    **dict.fromkeys(("Male", "Young"), True),
    **dict.fromkeys(("Wearing_Hat", "Bald", "Freckles", "Angry", "Sad", "Surprised"), False),
}
"""What the person is like otherwise: edits show best on a plain face."""


class Studio:
    """The workspace, the engine and the queue behind the page.

    Args:
        workspace: Where all files are.
        networks: As of `Engine`.
        limits: Of everything.
        categories: YAML file of further categories, for command lines.
    """

    def __init__(
        self,
        workspace: Workspace,
        networks: dict[str, Any],
        limits: Limits,
        categories: Path | None = None,
    ) -> None:
        self.workspace, self.limits, self._categories = workspace, limits, categories
        self.engine = Engine(workspace, networks)
        self.queue = Queue(workspace, self.engine, limits)

    def clip(self, path: object) -> Path:
        """Return an uploaded clip.

        Raises:
            ValueError: There is none, it lies outside the workspace, or is no video.
        """
        if not path:
            raise ValueError("there is no clip yet; drop one, or take the built-in one")
        found = self.workspace.inside(str(path))
        if found.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{found.name}: give a video, one of {', '.join(SUFFIXES)}")
        return found

    def built_in(self) -> Path:
        """Return a clip of a rendered face, which is rendered when it is first asked for."""
        path = self.workspace.folder / BUILT_IN / "rendered.mp4"
        if path.is_file():
            return path
        from keyface.miniature.population.clips import draw_clip
        from keyface.miniature.rendering.renderer import render_images
        from keyface.miniature.trials import FIRST_PERSON, find_person
        from keyface.plugins import edits
        from keyface.video import write_clip

        identity = find_person(edits.select(list(LACKED)), FIRST_PERSON, 0, also=PLAIN)
        faces = draw_clip(identity, 0, round(BUILT_IN_SECONDS * BUILT_IN_FPS), BUILT_IN_FPS)
        with self.engine.turns.urgent(), replacing(path) as temporary:
            written = temporary.with_suffix(".mp4")
            try:
                write_clip(written, [render_images(faces, BUILT_IN_SIDE)], Fraction(BUILT_IN_FPS))
                written.replace(temporary)
            finally:
                written.unlink(missing_ok=True)
        return path

    def people(self, path: object) -> list[Seen]:
        """Find the people in a clip.

        Raises:
            ValueError: The clip cannot be used, or shows nobody.
        """
        # The words stand for any edit: only the clip is looked at.
        request = preview_of(self.clip(path), self._unwritten(), {"prompt": "a face"}, self.limits)
        self.tidy()
        return self.engine.people(request)

    def preview(self, path: object, **asked: Any) -> tuple[list[Pair], list[str]]:
        """Edit three keyframes; return them with warnings.

        Raises:
            ValueError: Something that is asked for does not fit, or the clip cannot be used.
        """
        options = options_of(self.limits, **asked)
        request = preview_of(self.clip(path), self._unwritten(), options, self.limits)
        with self.workspace.room(0):
            return self.engine.preview(request)

    def edit(self, path: object, **asked: Any) -> Job:
        """Queue an edit.

        Raises:
            ValueError: As of `preview`, or there is no room.
        """
        self.tidy()
        return self.queue.add(self.clip(path), options_of(self.limits, **asked))

    def result(self, key: object) -> tuple[Path, Path, Path]:
        """Return the video, the mask and the record of an edit that is done.

        Raises:
            ValueError: There is no such edit, or it is not done.
        """
        job = self.queue.job(key)
        if job.state != "done":
            raise ValueError(
                f"this edit is {job.state}{f': {job.line}' if job.line else ''}; it has no result"
            )
        return job.files(self.queue.edits)

    def is_whole(self, job: Job) -> bool:
        """Tell whether the clip and the files of an edit that is done are there."""
        clip = self.workspace.folder / job.clip
        return all(path.is_file() for path in (clip, *job.files(self.queue.edits)))

    def compare(self, key: object, share: float) -> Pair:
        """Return a frame before and after an edit that is done.

        Raises:
            ValueError: As of `result`, or the clip is gone.
        """
        video, _, _ = self.result(key)
        source = self.clip(self.workspace.folder / self.queue.job(key).clip)
        words = {"prompt": "a face"}
        before, after = (preview_of(each, self._unwritten(), words, self.limits) for each in (source, video))
        return self.engine.compare(before, after, share)

    def command(self, job: Job) -> str:
        """Return the command line that makes an edit, or goes on with it."""
        clip = self.workspace.folder / job.clip
        more = {**self.engine.networks, "categories": self._categories}
        return command_of(clip, job.folder(self.queue.edits), job.options, more)

    def tidy(self) -> None:
        """Remove what nobody needs any more."""
        self.workspace.tidy(self.queue.clips())

    def _unwritten(self) -> Path:
        return self.workspace.folder / PICTURES / f"{secrets.token_hex(8)}.png"
