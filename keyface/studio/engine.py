"""What computes: networks that are read once, people, previews, and edits that can be left."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keyface.faces.crops import FFHQ
from keyface.footage import scan
from keyface.footage.crops import crops_at
from keyface.models.finders import find_suite
from keyface.pictures import save_png, to_image
from keyface.pipeline.companions import Companions
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.pipeline.planning.plan import Plan, make_plan
from keyface.pipeline.preview import edit_keyframes
from keyface.progress import say
from keyface.studio.turns import Turns
from keyface.studio.workspace import PICTURES, Workspace

if TYPE_CHECKING:
    from keyface.footage import Person
    from keyface.models.finders import FaceSuite
    from keyface.pipeline.output.record import EditRecord
    from keyface.pipeline.request.request import VideoRequest

_SIDE = 192
"""Pixels of a person's picture."""

_WARNING = "warning: "

Progress = Callable[[str, int, int], None]


class Seen(NamedTuple):
    """Somebody who was found in a clip.

    Attributes:
        number: As of `keyface edit --person`.
        said: When they are seen, and what a network guesses of them.
        picture: A file in the workspace.
    """

    number: int
    said: str
    picture: Path


class Pair(NamedTuple):
    """A frame before and after.

    Attributes:
        seconds: Its time.
        before: A file in the workspace.
        after: Likewise.
    """

    seconds: float
    before: Path
    after: Path


class Engine:
    """Networks, and the turns on the device that they are on.

    Args:
        workspace: Where pictures go.
        networks: Arguments of `FaceEditPipeline.from_pretrained`, with `weights` in place of `name`.
    """

    def __init__(self, workspace: Workspace, networks: Mapping[str, Any]) -> None:
        self.workspace, self.networks, self.turns = workspace, dict(networks), Turns()
        self._pipe: FaceEditPipeline | None = None
        self._plans: dict[str, Plan] = {}
        self._loading = threading.Lock()

    @property
    def pipe(self) -> FaceEditPipeline:
        """Return the networks, read when they are first needed."""
        with self._loading:
            if self._pipe is None:
                networks = dict(self.networks)
                self._pipe = FaceEditPipeline.from_pretrained(networks.pop("weights"), say=say, **networks)
            return self._pipe

    def people(self, request: VideoRequest) -> list[Seen]:
        """Find the people in a clip.

        Raises:
            ValueError: There is nobody.
        """
        reader = request.reader
        with self.turns.urgent():
            suite = self._suite()
            footage = scan(reader, suite)
            if not footage.people:
                raise ValueError(
                    f"{request.video.name}: no face in its {footage.frames} frames (looked for "
                    f"{suite.finder.knows} with {suite.name})"
                )
            places = [_place(person, reader.pixel_aspect) for person in footage.people]
            crops = crops_at(reader, [[each] for each in places], _SIDE)
        return [
            Seen(person.number, said_of(person), save_png(to_image(crop[0]), self._picture()))
            for person, crop in zip(footage.people, crops, strict=True)
        ]

    def preview(self, request: VideoRequest) -> tuple[list[Pair], list[str]]:
        """Edit three keyframes as the edit of the clip would; return them with warnings."""
        lines: list[str] = []
        with self.turns.urgent():
            plan = self._plan(request)
            made = edit_keyframes(self.pipe, request, plan, None, lines.append)
        origin, base = request.reader.timings[0].pts, request.reader.time_base
        pairs = [
            Pair(
                float((request.reader.timings[number].pts - origin) * base),
                save_png(to_image(before), self._picture()),
                save_png(to_image(after), self._picture()),
            )
            for number, before, after in zip(
                made.numbers, made.painted.before, made.painted.after, strict=True
            )
        ]
        return pairs, [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]

    def compare(self, source: VideoRequest, edited: VideoRequest, share: float) -> Pair:
        """Return the same frame of a clip and of its edit.

        Args:
            source: Of the clip.
            edited: Of the edit's output.
            share: Where in the clip, from 0 to 1.
        """
        before, after = source.reader, edited.reader
        number = round(min(max(share, 0.0), 1.0) * (min(len(before), len(after)) - 1))
        seconds = float((before.timings[number].pts - before.timings[0].pts) * before.time_base)
        pictures = [save_png(to_image(each.frames([number])[0]), self._picture()) for each in (before, after)]
        return Pair(seconds, *pictures)

    def edit(self, key: str, request: VideoRequest, progress: Progress) -> EditRecord:
        """Edit a clip, or go on with it; whoever calls has a turn.

        Args:
            key: The same for the same edit, whose people need not be found again.
            request: What is asked for.
            progress: As of `FaceEditPipeline.run`; it may raise to leave the edit as it is.
        """
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(request, progress)
            self._plans = {key: plan}
        record = self.pipe.run(request, progress, plan=plan)
        self._plans = {}
        return record

    def _plan(self, request: VideoRequest, progress: Progress | None = None) -> Plan:
        return make_plan(request, self.pipe.finder, self.pipe.placement, progress)

    def _suite(self) -> FaceSuite:
        finder = Companions.of(str(self.networks["weights"])).finder
        return find_suite("auto") if finder is None else finder()

    def _picture(self) -> Path:
        return self.workspace.folder / PICTURES / f"{secrets.token_hex(8)}.png"


def said_of(person: Person) -> str:
    """Return when somebody is seen, and what is guessed of them."""
    first, last = person.seconds
    words = [f"{first:.1f} to {last:.1f} s"]
    if person.looks is not None and person.looks.male is not None:
        words.append("man" if person.looks.male >= 0.5 else "woman")
    if person.looks is not None and person.looks.age is not None:
        words.append(f"about {person.looks.age:.0f}")
    return ", ".join(words)


def _place(person: Person, pixel_aspect: Any) -> tuple[int, Any]:
    """Return the middle frame of the longest time that somebody is seen, and the square of the face."""
    segment = max(person.segments, key=len)
    row = len(segment) // 2
    square = FFHQ.squares(segment.landmarks[row : row + 1], pixel_aspect)[0]
    return segment.first + row, square
