"""What the studio's tests share: clips, and a studio that runs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from studio_server import Served, serving

from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON, find_person
from keyface.plugins import edits
from keyface.video import write_clip


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of somebody without glasses: 4 frames of 64 pixels."""
    identity = find_person(
        edits.select(["glasses"]), FIRST_PERSON, 0, also={"Male": True, "Wearing_Hat": False}
    )
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    write_clip(path, [render_images(draw_clip(identity, 0, 4, 12), 64)], Fraction(12))
    return path


@pytest.fixture(scope="session")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two people side by side: 3 frames of 128 by 256 pixels."""
    frames = [render_images(draw_clip(FIRST_PERSON + each, 0, 3, 12), 128) for each in (107, 69)]
    path = tmp_path_factory.mktemp("clips") / "two people.mp4"
    write_clip(path, [torch.cat(frames, dim=3)], Fraction(12))
    return path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio with a workspace of 60 MB, uploads of 3 MB and clips of 10 s."""
    pytest.importorskip("gradio", reason="the extra `studio` is not installed")
    limits = {"workspace_gb": 0.06, "upload_gb": 0.003, "seconds": 10, "rate": 100000}
    words = [word for name, value in limits.items() for word in (f"--limits.{name}", str(value))]
    with serving(tmp_path_factory.mktemp("studio") / "workspace", *words) as found:
        yield found
