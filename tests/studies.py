"""Material of opinion studies: moving squares as clips, a protocol, and what browsers send of raters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from keyface.study.folder import Study

CLIPS = ("anna", "ben", "cleo")
METHODS = ("stit", "dva")

PROTOCOL: dict[str, Any] = {
    "schema": "keyface-study/1",
    "title": "Glasses & <beards>",
    "raters": 3,
    "seed": 1,
    "practice": 1,
    "checks": 1,
    "exclusion": {"failed_checks": 1},
    "clips": [
        {"id": "anna", "source": "sources/anna.mp4", "prompt": "a woman with glasses"},
        {"id": "ben", "source": "sources/ben.mp4", "edits": "beard, smile"},
        {"id": "cleo", "source": "sources/cleo.mp4", "edits": ["smile"]},
    ],
}


def moving(seed: int, level: float, frames: int = 10, size: int = 64) -> torch.Tensor:
    """A bright square on a ground of its own, moving to the right: (frames, 3, size, size) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    ground = torch.rand(3, 1, 1, generator=generator) - 0.5
    clip = ground.expand(frames, 3, size, size).clone()
    for index in range(frames):
        clip[index, :, 16:40, 2 * index : 2 * index + 24] = level
    return clip


def words_of(material: Path, output: Path) -> list[str]:
    methods = [f"{method}={material / method}" for method in METHODS]
    return ["study", "new", str(material / "protocol.json"), "--methods", *methods, "-o", str(output)]


Rate = Callable[[str, str, str], tuple[int, int]]
"""Clip, method and what was made of the source → realism and identity."""


def lines_of(study: Study, rater: str, booklet: int, rate: Rate) -> list[dict[str, Any]]:
    """What a browser would send of a rater who answers everything."""
    head = {"study": study.digest, "rater": rater, "booklet": booklet}
    lines = [head]
    for number in study.booklets[booklet]:
        trial = study.trials[number]
        realism, identity = rate(trial.clip, trial.method, trial.made)
        given = {"trial": number, "realism": realism, "identity": identity, "seconds": 4.5}
        lines.append(head | given)
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
