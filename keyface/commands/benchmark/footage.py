"""`keyface benchmark footage`: how well faces are found and followed, on scenes of known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

READING = """\
found: of the frames and people that can be seen, those in which the face was found and followed. false:
frames with a followed face where none is. switches: times that a followed person became another.
centre_error: of the crop's middle, in its sides, 95 of 100 are below; the finder's constant offset is taken
off. jitter: second differences of the smoothed crops' middles over those of the raw landmarks. milliseconds:
finding, following, cutting and putting back, a frame of 1280 by 720, on this machine.
"""


def footage(
    finder: Literal["auto", "insightface", "human", "face-api", "miniature"] = "miniature",
    photos: list[str] | None = None,
    seconds: float = 6.0,
    json: bool = False,
    output: Path | None = None,
    device: str | None = None,
) -> None:
    """Measure how well faces are found and followed.

    The program makes its own footage: people who sway, nod, turn and come near in 1280 by 720, a cut, an
    absence, a crossing. Without --photos they are rendered people with moving heads; a photo of a real
    person is cut out and moved as a whole.

    Args:
        finder: What is measured.
        photos: Of people to put into the scenes, one each, in place of rendered people.
        seconds: Length of each scene.
        json: Print the rows as JSON, and nothing else on stdout.
        output: Also write these rows to this file.
        device: Where to compute.

    Raises:
        ValueError: The request does not fit together, or a photo shows no face.
    """
    import tempfile
    from dataclasses import asdict

    from keyface.benchmark.footage import FPS, measure_footage
    from keyface.benchmark.footage_scenes import make_scenes, person_of, rendered_people
    from keyface.commands.console import print_json, table, write_json
    from keyface.diffusion.device import choose_device
    from keyface.models.finders import find_suite
    from keyface.progress import bar

    if not 1 <= seconds <= 600:
        raise ValueError(f"--seconds is {seconds:g}; it must be from 1 to 600")
    suite = find_suite(finder, choose_device(device))
    people = [person_of(Path(photo), suite) for photo in photos] if photos else rendered_people()
    rows = []
    for scene in make_scenes(people, round(seconds * FPS)):
        with (
            tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as folder,
            bar(scene.name, len(scene.path), "frame") as advance,
        ):
            rows.append(asdict(measure_footage(scene, suite, Path(folder), advance)))
    if output is not None:
        write_json(output, rows)
    if json:
        print_json(rows)
        return
    print(table(rows))
    print(READING, end="")
