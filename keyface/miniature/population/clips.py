"""Videos: one person, one state, and a pose that moves as heads move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from keyface.miniature.population.hashing import key, uniform
from keyface.miniature.population.parameters import Faces
from keyface.miniature.population.world import draw_faces

_CLIP = 5

_SWINGS: Mapping[str, tuple[float, float, float]] = {
    "yaw": (0.30, 0.42, 0.45),
    "pitch": (0.07, 0.12, 0.60),
    "roll": (0.05, 0.08, 0.40),
    "x": (0.03, 0.06, 0.35),
    "y": (0.02, 0.04, 0.50),
    "light_x": (0.05, 0.7, 0.10),
}
"""Column → (amplitude, reach about 0, cycles a second)."""


def draw_clip(
    identity_id: int,
    seed: int,
    frames: int,
    fps: float = 25.0,
    rates: Mapping[str, float] | None = None,
) -> Faces:
    """Draw a video, a batch of its T frames.

    Identity and attributes stay; pose, place, gaze and light drift smoothly, eyes blink about every four
    seconds for a fifth of a second, and some clips speak now and then. Time is continuous: the same clip at
    another frame rate shows the same movement.

    Args:
        identity_id: Who.
        seed: Which clip of them.
        frames: How many frames, T.
        fps: Frames a second.
        rates: As in `keyface.miniature.population.world.draw_faces`.
    """
    still = draw_faces(torch.tensor([identity_id]), seed, rates)
    faces = still[torch.zeros(frames, dtype=torch.int64)]
    draws = iter(uniform(key(_CLIP, torch.tensor([identity_id]), seed), 96)[0].tolist())
    seconds = torch.arange(frames, dtype=torch.float32) / fps

    moved: dict[str, Tensor] = {}
    for name, (amplitude, reach, rate) in _SWINGS.items():
        moved[name] = (faces.condition(name) + amplitude * _drift(seconds, rate, draws)).clamp(-10.0, 10.0)
        # Soft limits: beyond its reach a column bends back instead of stopping dead.
        moved[name] = reach * torch.tanh(moved[name] / reach)
    scale = faces.condition("scale")
    moved["scale"] = scale * (1.0 + 0.02 * _drift(seconds, 0.3, draws))
    moved["gaze_x"] = _drift(seconds, 0.25, draws)
    moved["gaze_y"] = 0.7 * _drift(seconds, 0.3, draws)
    moved["blink"] = _blinks(seconds, draws)
    speaks = next(draws) < 0.35
    moved["mouth_open"] = _speech(seconds, draws) if speaks else torch.zeros_like(seconds)
    return faces.with_nuisance(**moved)


def _drift(seconds: Tensor, rate: float, draws: Iterator[float]) -> Tensor:
    """Sum three incommensurable sines with random phases, within about ± 1."""
    phases = [2.0 * math.pi * next(draws) for _ in range(3)]
    waves = (
        weight * torch.sin(2.0 * math.pi * rate * factor * seconds + phase)
        for weight, factor, phase in zip((0.55, 0.30, 0.15), (0.6, 1.0, 1.73), phases, strict=True)
    )
    return sum(waves, torch.zeros_like(seconds))


def _blinks(seconds: Tensor, draws: Iterator[float]) -> Tensor:
    period, start = 3.0 + 2.0 * next(draws), next(draws)
    phase = (seconds / period + start) % 1.0 * period
    return torch.exp(-(((phase - 0.5 * period) / 0.075) ** 2)).mul(1.3).clamp(max=1.0)


def _speech(seconds: Tensor, draws: Iterator[float]) -> Tensor:
    envelope = (0.5 + 0.9 * _drift(seconds, 0.25, draws)).clamp(0.0, 1.0)
    syllables = 0.5 + 0.5 * _drift(seconds, 2.2, draws)
    return (0.9 * envelope * syllables).clamp(0.0, 1.0)
