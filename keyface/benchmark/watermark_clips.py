"""Clips to mark, and clips without a mark: rendered faces, photographs, patterns and noise, all in motion."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from keyface.editing.composition import Decoded, compose
from keyface.editing.parts import Composition
from keyface.footage.camera import Camera
from keyface.miniature.trials import FIRST_PERSON, find_person, render_trial
from keyface.plugins import Category

FPS = 25


@dataclass(frozen=True)
class Clip:
    """Edited frames and where they were edited.

    Attributes:
        name: Of what it shows.
        frames: (T, 3, S, S) in [-1, 1].
        mask: (T, 1, S, S) in [0, 1].
    """

    name: str
    frames: Tensor
    mask: Tensor


def edited_faces(
    categories: Sequence[Category], number: int, frames: int, size: int, moving: bool
) -> Iterator[Clip]:
    """Render people before and after an edit, and compose that as an edit is composed.

    Args:
        categories: Given out in rotation, one a person.
        number: How many clips.
        frames: T.
        size: S.
        moving: Whether every frame is rendered; else one is, and a camera moves before it, in a tenth of the
            time.
    """
    identity = FIRST_PERSON - 1
    for category in islice(cycle(categories), number):
        identity = find_person([category], identity + 1, seed=0)
        trial = render_trial(identity, [category], frames if moving else 1, size, seed=0, fps=FPS)
        parts = [
            Decoded(before, before, after, region[None].float())
            for before, after, region in zip(trial.frames, trial.ground_truth, trial.region, strict=True)
        ]
        layers = list(compose([parts], Composition()))
        edited, mask = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("edited", "mask"))
        if not moving:
            camera = Camera.round(frames, size)
            edited, mask = camera.film(edited), camera.film(mask)
        yield Clip(trial.name, edited, mask)


def unmarked_pictures(number: int, frames: int, size: int) -> Iterator[Clip]:
    """Film pictures that are no faces: photographs where scikit-image is installed, patterns and noise."""
    patterns: dict[str, Callable[[int, torch.Generator], Tensor]] = {
        "gradient": _gradient,
        "stripes": _stripes,
        "checks": _checks,
        "noise": _noise,
        "clouds": _clouds,
    }
    photographs = {path.stem: path for path in _photographs()}
    names = [*photographs, *patterns, "flicker"]
    camera = Camera.round(frames, size)
    for index in range(number):
        name, random = names[index % len(names)], torch.Generator().manual_seed(index)
        if name == "flicker":
            film = _flicker(size, random, frames)
        elif name in photographs:
            film = camera.film(_part_of(photographs[name], size, random))
        else:
            film = camera.film(patterns[name](size, random))
        yield Clip(name, film.clamp(-1, 1), torch.zeros(frames, 1, size, size))


def _photographs() -> list[Path]:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "data"
    names = (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "grass.png",
        "brick.png",
        "gravel.png",
    )
    return [
        folder / name for name in (*names, "camera.png", "text.png", "page.png") if (folder / name).is_file()
    ]


def _part_of(path: Path, size: int, random: torch.Generator) -> Tensor:
    """Return a random square of a photograph, (1, 3, S, S)."""
    with Image.open(path) as picture:
        width, height = picture.size
        share = 0.4 + 0.6 * float(torch.rand(1, generator=random))
        side = round(min(width, height) * share)
        left, top = (int(torch.rand(1, generator=random) * (length - side + 1)) for length in (width, height))
        box = (left, top, left + side, top + side)
        pixels = np.asarray(picture.convert("RGB").crop(box).resize((size, size), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div(127.5).sub(1)


def _plane(size: int, random: torch.Generator) -> Tensor:
    """Return a coordinate (S, S) that grows by 1 a pixel in a random direction."""
    angle = float(torch.rand(1, generator=random)) * 2 * math.pi
    places = torch.arange(size, dtype=torch.float32)
    return places[:, None] * math.sin(angle) + places[None, :] * math.cos(angle)


def _gradient(size: int, random: torch.Generator) -> Tensor:
    plane = _plane(size, random)
    return (2 * (plane - plane.min()) / (plane.max() - plane.min()) - 1).expand(1, 3, -1, -1)


def _stripes(size: int, random: torch.Generator) -> Tensor:
    length = 4 + 40 * float(torch.rand(1, generator=random))
    return torch.sin(_plane(size, random) * (2 * math.pi / length)).expand(1, 3, -1, -1)


def _checks(size: int, random: torch.Generator) -> Tensor:
    side = int(torch.randint(4, 40, (1,), generator=random))
    places = torch.arange(size) // side
    return ((places[:, None] + places[None, :]) % 2 * 1.6 - 0.8).expand(1, 3, -1, -1)


def _noise(size: int, random: torch.Generator) -> Tensor:
    return torch.rand(1, 3, size, size, generator=random) * 2 - 1


def _clouds(size: int, random: torch.Generator) -> Tensor:
    """Return noise of all sizes, as strong at each."""
    total = torch.zeros(1, 3, size, size)
    for octave in islice(count(2), 6):
        coarse = torch.randn(1, 3, 2**octave, 2**octave, generator=random)
        total += F.interpolate(coarse, size=(size, size), mode="bicubic")
    return total / total.abs().max()


def _flicker(size: int, random: torch.Generator, frames: int) -> Tensor:
    """Return new coarse noise in every fifth frame: what changes in the watermark's own rhythm."""
    coarse = torch.randn(math.ceil(frames / 5), 3, size // 8, size // 8, generator=random) * 0.3
    return F.interpolate(coarse, size=(size, size), mode="bicubic").repeat_interleave(5, dim=0)[:frames]
