"""Scenes of 1280 by 720 with people who sway, come near, turn their heads, cross, leave and come back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.squares import detector_squares
from keyface.miniature.population import clips, world
from keyface.miniature.scenes import Sprites, paste, render_sprites
from keyface.models.finders import FaceSuite
from keyface.video import read_still

HEIGHT, WIDTH, FPS = 720, 1280, 25

_PERSON_FRAMES = 50
_PICTURE_SIDE = 256
_HEAD = 2.2
"""Sides of its face that a cut-out head has."""


@dataclass(frozen=True)
class SceneTruth:
    """A scene that is drawn frame by frame, and where everybody is.

    Attributes:
        name: Of the scene.
        people: Who is in it.
        path: By frame, (person, x, y, side, turn) of everybody in it.
        shots: By frame, number of its background.
        landmarks: By frame and person, (5, 2) pixels (x, y); empty for who is not there.
        visible: By frame, (people,) whether they can be seen.
    """

    name: str
    people: Sequence[Sprites]
    path: Sequence[Sequence[tuple[int, float, float, float, float]]]
    shots: Sequence[int]
    landmarks: Sequence[Sequence[Tensor]]
    visible: Sequence[Tensor]

    def frames(self, chunk: int = 8) -> Iterator[Tensor]:
        """Yield the frames, (n, 3, 720, 1280) in [-1, 1]."""
        walls = [_wall(number) for number in range(max(self.shots) + 1)]
        for start in range(0, len(self.path), chunk):
            pictures = []
            for number in range(start, min(start + chunk, len(self.path))):
                picture = walls[self.shots[number]].clone()
                for who, x, y, side, turn in self.path[number]:
                    _paste(picture, self.people[who], number, x, y, side, turn)
                pictures.append(picture)
            yield torch.stack(pictures)

    def nearest(self, frame: int, landmarks: Tensor, near: float) -> int | None:
        """Return whose face lies where these landmarks are, within `near` sides of it."""
        best: tuple[float, int] | None = None
        for who, points in enumerate(self.landmarks[frame]):
            if not len(points):
                continue
            side = float(detector_squares(points[None])[0, 2])
            apart = float((points.mean(0) - landmarks.mean(0)).norm()) / side
            if apart < near and (best is None or apart < best[0]):
                best = (apart, who)
        return None if best is None else best[1]


def rendered_people(count: int = 2) -> list[Sprites]:
    """Return rendered people whom no network was trained on; their heads move and their faces, too."""
    rates = {"Sunglasses": 0.0}
    return [
        render_sprites(clips.draw_clip(world.HELD_OUT + 70 + number, 0, _PERSON_FRAMES, FPS, rates), 256)
        for number in range(count)
    ]


def person_of(photo: Path, suite: FaceSuite) -> Sprites:
    """Cut a person's head out of a photo; it moves as a whole, and does not change.

    Raises:
        ValueError: There is no face in it.
    """
    image = read_still(photo)
    faces = suite.finder.find(image[None])[0]
    if not faces:
        raise ValueError(f"{photo}: no face found in it; give a photo that shows one person clearly")
    points = faces[0].landmarks
    side = float(detector_squares(points[None])[0, 2])
    middle = points.mean(0)
    steps = ((torch.arange(_PICTURE_SIDE) + 0.5) / _PICTURE_SIDE - 0.5) * _HEAD * side
    grid = torch.stack(torch.meshgrid(middle[0] + steps, middle[1] + steps, indexing="xy"), dim=-1)
    extent = torch.tensor([image.shape[2], image.shape[1]])
    picture = F.grid_sample(image[None], (2 * grid / extent - 1)[None], align_corners=False)[0]
    away = torch.linspace(-1, 1, _PICTURE_SIDE)
    opacity = (4 * (1 - (away[None] ** 2 / 0.62 + (away[:, None] - 0.05) ** 2 / 0.85))).clamp(0, 1)
    colours = torch.cat([picture.add(1).mul(127.5), opacity[None] * 255]).round().clamp(0, 255).byte()
    levels = [colours[None]]
    for _ in range(3):
        levels.append(F.avg_pool2d(levels[-1].float(), 2).round().byte())
    scale = _PICTURE_SIDE / (_HEAD * side)
    landmarks = (points - middle) * scale + _PICTURE_SIDE / 2
    return Sprites(tuple(levels), landmarks[None], torch.tensor([side * scale]))


def make_scenes(people: Sequence[Sprites], frames: int) -> list[SceneTruth]:
    """Return the scenes: one person who moves; a cut and an absence; with two people, a crossing."""
    thirds = frames // 3
    moving = [[(0, *_sway(number, 640, 360, 150))] for number in range(frames)]
    absent = [
        []
        if thirds <= number < 2 * thirds
        else [(0, *_sway(number, 400 if number < thirds else 900, 380, 110))]
        for number in range(frames)
    ]
    scenes = [
        _scene("motion", people, moving, [0] * frames),
        _scene("cut and absence", people, absent, [0 if number < thirds else 1 for number in range(frames)]),
    ]
    if len(people) > 1:
        crossing = [
            [
                (1, *_sway(number + 9, 1080 - 880 * number / frames, 420, 130)),
                (0, *_sway(number, 200 + 880 * number / frames, 330, 120)),
            ]
            for number in range(frames)
        ]
        scenes.append(_scene("crossing", people, crossing, [2] * frames))
    return scenes


def _sway(number: int, x: float, y: float, side: float) -> tuple[float, float, float, float]:
    """Return place, size and turn of a head that nods at 1.5 Hz, drifts, and comes nearer."""
    seconds = number / FPS
    nod, drift = math.sin(2 * math.pi * 1.5 * seconds), math.sin(2 * math.pi * 0.3 * seconds)
    return (
        x + 0.4 * side * drift,
        y + 0.05 * side * nod,
        side * (1 + 0.15 * drift),
        0.3 * math.sin(2 * math.pi * 0.4 * seconds + 1),
    )


def _scene(
    name: str,
    people: Sequence[Sprites],
    path: Sequence[Sequence[tuple[int, float, float, float, float]]],
    shots: Sequence[int],
) -> SceneTruth:
    landmarks, visible = [], []
    for number, places in enumerate(path):
        points = [torch.zeros(0, 2)] * len(people)
        scratch = torch.zeros(3, 1, 1)
        for who, x, y, side, turn in places:
            points[who] = _paste(scratch, people[who], number, x, y, side, turn)
        seen = torch.tensor([len(each) > 0 for each in points])
        # Of two who overlap, the one that was drawn first is hidden.
        for first, second in ((a, b) for a in range(len(places)) for b in range(a + 1, len(places))):
            back, front = places[first], places[second]
            if math.hypot(back[1] - front[1], back[2] - front[2]) < 0.9 * front[3]:
                seen[back[0]] = False
        landmarks.append(points)
        visible.append(seen)
    return SceneTruth(name, people, path, shots, landmarks, visible)


def _paste(
    picture: Tensor, sprites: Sprites, number: int, x: float, y: float, side: float, turn: float
) -> Tensor:
    who = number % len(sprites.sides)
    found = paste(picture, sprites, who, side, (x, y), turn, False, whole=False, cover=[])
    assert found is not None
    return found


def _wall(number: int) -> Tensor:
    """Return a background (3, 720, 1280): soft light, and some furniture."""
    random = torch.Generator().manual_seed(number)
    coarse = torch.rand(1, 3, 6, 9, generator=random) * 0.5 - 0.6 + 0.35 * number
    wall = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0]
    for _ in range(6):
        left, top = (int(torch.randint(0, limit, (1,), generator=random)) for limit in (WIDTH, HEIGHT))
        wall[:, top : top + 160, left : left + 220] = torch.rand(3, 1, 1, generator=random) - 0.5
    return wall.clamp(-1, 1)
