"""`keyface faces`: who is in a video, before anything is edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fractions import Fraction

    from keyface.faces.face import Looks
    from keyface.footage import Footage, Person
    from keyface.footage.crops import Place
    from keyface.video import VideoReader

_COLUMNS = 6
_SIDE = 160


def faces(
    video: Path,
    output: Path | None = None,
    finder: Literal["auto", "insightface", "human", "face-api", "miniature"] = "auto",
    start: str | None = None,
    end: str | None = None,
    device: str | None = None,
    strict_device: bool = False,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Find the people in a video: a table, and a contact sheet with -o.

    Their numbers are what `keyface edit --person` takes; 1 is who is seen most. Ages and sexes are guesses
    of a network from pictures.

    Args:
        video: The video: mp4, mov, mkv, webm or avi; or a still.
        output: The contact sheet to write, a .png.
        finder: What finds the faces; auto is the first that is there, see `keyface doctor`. The miniature's
            finds rendered faces only.
        start: Look only from this time on, in seconds or minutes:seconds.
        end: Look only before this time.
        device: Where to compute, such as cuda or cpu.
        strict_device: Take no CPU in place of a GPU: an error instead of a warning.
        overwrite: Replace an existing sheet.
        json: Print the people with box and landmarks of every frame as JSON on stdout, and nothing else.

    Raises:
        ValueError: The video cannot be used, or shows no face.
        FileNotFoundError: There is no such video.
    """
    from keyface.commands.console import print_json, table
    from keyface.diffusion.device import choose_device
    from keyface.files import require_file_name
    from keyface.footage import scan
    from keyface.models.finders import find_suite
    from keyface.progress import say, stages
    from keyface.video import open_video, parse_time

    if output is not None:
        require_file_name(output)
        if output.suffix.lower() != ".png":
            raise ValueError(f"-o/--output {output}: write to a .png file")
        if output.exists() and not overwrite:
            raise ValueError(f"{output}: exists; give another name, or --overwrite to replace it")
    reader = open_video(
        video,
        start=None if start is None else parse_time(start, "--start"),
        end=None if end is None else parse_time(end, "--end"),
    )
    suite = find_suite(finder, choose_device(device, strict=strict_device), strict=strict_device)
    with stages({"find": 1.0}) as progress:
        footage = scan(reader, suite, progress)
    if not footage.people:
        raise ValueError(
            f"{video}: no face in its {footage.frames} frames (looked for {suite.finder.knows} with "
            f"{suite.name})"
        )
    if output is not None:
        write_sheet(reader, footage, output)
        say(f"wrote {output}")
    if json:
        print_json(describe(footage))
        return
    print(table([_row(person, footage) for person in footage.people]))
    spans = footage.without_face()
    shots = len(footage.shots)
    print(f"{footage.frames} frames, {shots} shot{'s' if shots > 1 else ''}; found with {footage.finder}")
    if spans:
        print(f"nobody at {', '.join(f'{first:.2f}-{last:.2f} s' for first, last in spans)}")
    for person in footage.people:
        for segment in person.segments:
            for doubt in segment.doubts():
                first, last = segment.seconds
                say(f"warning: person {person.number}, {first:.2f}-{last:.2f} s: {doubt}")
    say("next: keyface edit VIDEO -o OUTPUT --edits NAME --person NUMBER")


def describe(footage: Footage) -> dict[str, Any]:
    """Return what was found, with the landmarks of every frame, as JSON can say it."""
    return {
        "frames": footage.frames,
        "height": footage.size[0],
        "width": footage.size[1],
        "finder": footage.finder,
        "shots": list(footage.shots),
        "without_face": footage.without_face(),
        "people": [
            {
                "number": person.number,
                "frames": person.frames,
                "seconds": person.seconds,
                "side": person.side,
                "looks": None if person.looks is None else vars(person.looks),
                "segments": [
                    {
                        "first": segment.first,
                        "seconds": segment.seconds,
                        "doubts": segment.doubts(),
                        "found": segment.found.tolist(),
                        "sides": segment.sides.tolist(),
                        "boxes": segment.boxes.tolist(),
                        "landmarks": segment.landmarks.tolist(),
                    }
                    for segment in person.segments
                ],
            }
            for person in footage.people
        ],
    }


def write_sheet(reader: VideoReader, footage: Footage, path: Path) -> None:
    """Write a contact sheet: a row of crops a person, spread over the time in which they are seen."""
    from keyface.footage.crops import crops_at
    from keyface.pictures import draw_sheet, save_png

    places = [_places(person, reader.pixel_aspect) for person in footage.people]
    crops = crops_at(reader, places, _SIDE)
    labels = [_label(person) for person in footage.people]
    save_png(draw_sheet(list(zip(labels, crops, strict=True))), path)


def _places(person: Person, pixel_aspect: Fraction) -> list[Place]:
    """Return frames and squares of a person, spread over the time in which they are seen."""
    import torch

    from keyface.faces.crops import FFHQ
    from keyface.pictures import spread

    numbers = [frame for segment in person.segments for frame in range(segment.first, segment.stop)]
    points = torch.cat([segment.landmarks for segment in person.segments])
    chosen = spread(len(numbers), _COLUMNS)
    squares = FFHQ.squares(points[chosen], pixel_aspect)
    return [(numbers[index], square) for index, square in zip(chosen, squares, strict=True)]


def _row(person: Person, footage: Footage) -> dict[str, object]:
    first, last = person.seconds
    return {
        "person": person.number,
        "first s": round(first, 2),
        "last s": round(last, 2),
        "size px": round(person.side),
        "of the clip": f"{100 * person.frames / footage.frames:.0f} %",
        "guess": _guess(person.looks) or "-",
    }


def _label(person: Person) -> str:
    first, last = person.seconds
    return "\n".join(filter(None, (str(person.number), _guess(person.looks), f"{first:.1f}-{last:.1f} s")))


def _guess(looks: Looks | None) -> str:
    if looks is None:
        return ""
    words = []
    if looks.male is not None:
        words.append("man" if looks.male >= 0.5 else "woman")
    if looks.age is not None:
        words.append(f"about {looks.age:.0f}")
    return ", ".join(words)
