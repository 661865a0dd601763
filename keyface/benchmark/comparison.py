"""What `keyface benchmark` is asked to do, as cells of a table, and how they are filled."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyface.benchmark.request import MODES, Precision, Request, Scale, settings_of
from keyface.benchmark.runner import Cell, run_interleaved
from keyface.editing.settings import EditSettings, Prompts
from keyface.evaluation.rows.variants import parse_settings, with_value
from keyface.pipeline.pipeline import defaults_of

if TYPE_CHECKING:
    from keyface.benchmark.quality import RenderedClip
    from keyface.plugins import Category

TABLE_2_FRAMES = (300, 600, 900, 1200)
"""30, 60, 90 and 120 seconds at 10 frames a second (the paper's Table 2)."""

_DRY_FRAMES, _DRY_SIZE, _DRY_STEPS = (4, 8), 64, 2
_QUALITY = ("identity_distance", "edit_success", "temporal_loss", "psnr_to_first")
_PROMPTS = Prompts("a photo of a woman", "a photo of a woman with glasses")


@dataclass(frozen=True)
class Plan:
    """Everything that is to be measured.

    Attributes:
        lengths: of the clips, in frames.
        modes: names as they were given, with the settings that each stands for.
        repeats: of each.
        request: what all cells share; `frames`, `settings`, `clip` and `edited` are each cell's own.
        edits: names of the categories.
        seed: of the clip.
    """

    lengths: tuple[int, ...]
    modes: dict[str, EditSettings]
    repeats: int
    request: Request
    edits: tuple[str, ...]
    seed: int

    @classmethod
    def of(
        cls,
        frames: str | None,
        modes: str,
        repeats: int,
        scale: Scale,
        edits: str,
        steps: int | None,
        size: int | None,
        guidance: float | None,
        dtype: Precision,
        compiled: bool,
        channels_last: bool,
        dry_run: bool,
        seed: int,
        device: str | None,
    ) -> Plan:
        """Reads the command's options.

        Raises:
            ValueError: One of them is of no use.
        """
        import torch

        if repeats < 1:
            raise ValueError(f"--repeats {repeats}: at least 1, please")
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if torch.device(place).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"--device {place}: there is no CUDA device here")
        chosen = tuple(name.strip() for name in edits.split(",") if name.strip())
        miniature = scale == "miniature"
        shared = EditSettings()
        if miniature:
            from keyface.miniature import zoo

            shared = defaults_of(zoo.WEIGHTS / "base").for_categories(_categories(chosen))
        shared = replace(
            shared,
            seed=seed,
            steps=_DRY_STEPS if dry_run else steps if steps is not None else shared.steps,
            guidance_scale=guidance if guidance is not None else shared.guidance_scale,
        )
        request = Request(
            scale=scale,
            shrunk=scale == "sd21" and dry_run,
            settings=shared,
            prompts=_PROMPTS,
            frames=0,
            size=_side(scale, size, dry_run),
            clip=None,
            edited=None,
            device=place,
            dtype=dtype,
            compile=compiled,
            channels_last=channels_last,
        )
        return cls(
            _lengths(frames, scale, dry_run),
            _modes(modes, shared),
            1 if dry_run else repeats,
            request,
            chosen,
            seed,
        )


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Fills the table, length by length within mode as it was asked for."""
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = Path(name)
        clips = _clips(plan, folder)
        cells = [
            Cell(mode, _asked(plan, length, clips, folder, number, settings))
            for length in plan.lengths
            for number, (mode, settings) in enumerate(plan.modes.items())
        ]
        rows = []
        first = {cell.request.frames: cell for cell in reversed(cells)}
        for cell in run_interleaved(cells, plan.repeats, folder, _say):
            rows.append(cell.row(_quality(cell, first[cell.request.frames], clips)))
    return rows


def _clips(plan: Plan, folder: Path) -> dict[int, RenderedClip]:
    """The miniature's clips by length; none for shapes with random weights, which know nothing."""
    if plan.request.scale == "sd21":
        return {}
    from keyface.benchmark.quality import render_clip

    categories = _categories(plan.edits)
    return {
        length: render_clip(categories, folder / f"clip-{length}", length, plan.request.size, plan.seed)
        for length in plan.lengths
    }


def _asked(
    plan: Plan, length: int, clips: dict[int, RenderedClip], folder: Path, number: int, settings: EditSettings
) -> Request:
    asked = replace(plan.request, frames=length, settings=settings)
    clip = clips.get(length)
    if clip is None:
        return asked
    edited = folder / f"edited-{number}-{length}"
    return replace(asked, clip=clip.path, edited=edited, prompts=clip.truth.prompts)


def _quality(cell: Cell, first: Cell, clips: dict[int, RenderedClip]) -> dict[str, float | None]:
    clip, edited = clips.get(cell.request.frames), cell.request.edited
    if clip is None or edited is None or first.request.edited is None:
        return dict.fromkeys(_QUALITY)
    from keyface.benchmark.quality import agreement, score
    from keyface.models.judges import Judges

    same = agreement(clip, edited, first.request.edited)
    return {**score(clip, edited, Judges.miniature()), "psnr_to_first": same}


def _lengths(frames: str | None, scale: Scale, dry_run: bool) -> tuple[int, ...]:
    if frames is None:
        return _DRY_FRAMES if dry_run else TABLE_2_FRAMES if scale == "sd21" else (32, 128)
    try:
        found = tuple(int(part) for part in frames.split(","))
    except ValueError:
        raise ValueError(f"--frames {frames}: whole numbers separated by commas, such as 32,128") from None
    if min(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"--frames {frames}: different lengths of at least 2 frames, please")
    return _DRY_FRAMES[: len(found)] if dry_run else found


def _modes(modes: str, shared: EditSettings) -> dict[str, EditSettings]:
    """Mode by name; "latent:steps=10" changes settings of one mode."""
    found: dict[str, EditSettings] = {}
    for name in filter(None, (part.strip() for part in modes.split(","))):
        mode, _, changes = name.partition(":")
        if mode not in MODES:
            raise ValueError(f"--modes {name}: unknown mode {mode!r}; choose from {', '.join(MODES)}")
        settings = settings_of(mode, shared)
        for setting, value in parse_settings(changes.replace(":", ",")).items():
            settings = with_value(settings, setting, value)
        if name in found:
            raise ValueError(f"--modes {modes}: {name} is given twice")
        found[name] = settings
    if not found:
        raise ValueError(f"--modes is empty; choose from {', '.join(MODES)}")
    return found


def _side(scale: Scale, size: int | None, dry_run: bool) -> int:
    if size is not None:
        return size
    if scale == "miniature":
        from keyface.miniature import zoo

        return zoo.backbone().image_size
    from keyface.benchmark.sd21 import PIXELS

    return _DRY_SIZE if dry_run else PIXELS


def _categories(edits: Sequence[str]) -> list[Category]:
    from keyface.plugins.registry import edits as registry

    if not edits:
        raise ValueError("--edits is empty; see `keyface plugins list`")
    return list(registry.select(list(edits)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
