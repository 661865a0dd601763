"""Videos with rendered people in them who move, meet, leave and come back after a cut, with the truth."""

import math
from fractions import Fraction
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from keyface.miniature.population import clips, world
from keyface.miniature.population.parameters import Faces
from keyface.miniature.scenes import Sprites, paste, render_sprites
from keyface.video import write_clip

HEIGHT, WIDTH, FPS = 180, 320, 25
PLAIN = {"Eyeglasses": 0.0, "Sunglasses": 0.0, "Wearing_Hat": 0.0}


@cache
def people(frames: int = 8, count: int = 3) -> list[Sprites]:
    """Moving people whom no network was trained on."""
    found: list[Sprites] = []
    for number in range(count):
        faces: Faces = clips.draw_clip(world.HELD_OUT + 50 + number, 0, frames, FPS, PLAIN)
        found.append(render_sprites(faces))
    return found


def wall(shade: float, seed: int = 0) -> Tensor:
    """A background (3, H, W) of soft clouds."""
    coarse = torch.rand(1, 3, 5, 8, generator=torch.Generator().manual_seed(seed)) * 0.3 + shade
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0]


def place(
    frame: Tensor, who: int, number: int, where: tuple[float, float], side: float = 44, turn: float = 0
) -> Tensor:
    """Put a person into a frame; return the landmarks (5, 2) in pixels from the frame's edge."""
    sprites = people()[who]
    landmarks = paste(
        frame, sprites, number % len(sprites.sides), side, where, turn, False, whole=False, cover=[]
    )
    assert landmarks is not None
    return landmarks


def two_people_a_cut_and_an_absence(path: Path) -> dict[str, object]:
    """Write 60 frames: 0 and 1 together for 20; a cut; 0 alone for 15, gone for 15, back for 10.

    Returns:
        The landmarks of person 0 by frame.
    """
    truth: dict[int, Tensor] = {}
    frames = []
    for number in range(60):
        frame = wall(-0.4) if number < 20 else wall(0.3, seed=1)
        sway = 3 * math.sin(number / 4)
        if number < 20:
            truth[number] = place(frame, 0, number, (80 + number + sway, 90))
            place(frame, 1, number, (240 - sway, 95), side=52)
        elif not 35 <= number < 50:
            truth[number] = place(frame, 0, number, (160 + sway, 100), side=60, turn=0.1)
        frames.append(frame)
    write_clip(path, torch.stack(frames), Fraction(FPS))
    return {"landmarks": truth}
