"""What `keyface benchmark` compares: ways to edit, each at several lengths of the clip."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyface.benchmark.request import Precision, Request, Scale
from keyface.benchmark.runner import Cell, run_interleaved
from keyface.diffusion.device import choose_device
from keyface.editing.settings import EditSettings, Prompts
from keyface.evaluation.rows.variants import Variant, read_variants
from keyface.models.backbones import MINIATURE
from keyface.pipeline.defaults import miniature_defaults
from keyface.plugins import edits as registry
from keyface.progress import say

if TYPE_CHECKING:
    from keyface.benchmark.quality import RenderedClip

TABLE_2_FRAMES = (300, 600, 900, 1200)
"""30, 60, 90 and 120 seconds at 10 frames a second (the paper's Table 2)."""

_DRY_FRAMES, _DRY_SIZE, _DRY_STEPS = (4, 8), 64, 2
_QUALITY = ("identity_distance", "edit_success", "temporal_loss", "psnr_to_first")
_PROMPTS = Prompts("a photo of a woman", "a photo of a woman with glasses")


@dataclass(frozen=True)
class Comparison:
    """Everything that is to be measured.

    Attributes:
        lengths: Of the clips, in frames.
        ways: Name of a way to edit → its settings.
        repeats: Of each.
        request: What all measurements share; `frames`, `settings`, `clip` and `edited` are each one's own.
        edits: Names of the categories.
    """

    lengths: tuple[int, ...]
    ways: Mapping[str, EditSettings]
    repeats: int
    request: Request
    edits: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        frames: str | None = None,
        modes: str | None = None,
        variants: Path | str | None = None,
        settings: Mapping[str, Any],
        repeats: int = 3,
        scale: Scale = "miniature",
        edits: str = "glasses",
        size: int | None = None,
        dtype: Precision = "fp32",
        compiled: bool = False,
        channels_last: bool = False,
        dry_run: bool = False,
        device: str | None = None,
    ) -> Comparison:
        """Read the command's options.

        Args:
            frames: Lengths of the clips, separated by commas; None takes those of the scale.
            modes: Names of `known_modes`, separated by commas.
            variants: File of named ways to edit; where neither it nor `modes` is given, all modes.
            settings: Values of `EditSettings` that all ways share, nested.
            repeats: Measurements of each way and length.
            scale: Which networks.
            edits: Names of categories, separated by commas.
            size: Rows and columns; None takes those of the networks.
            dtype: Precision of the U-Nets.
            compiled: Whether the U-Nets' parts are compiled.
            channels_last: Whether tensors have their channels innermost.
            dry_run: Shrunk shapes, few frames, 2 steps, once.
            device: Where to edit; None takes a GPU where there is one.

        Raises:
            ValueError: One of them is of no use.
            FileNotFoundError: There is no such file of variants.
        """
        if repeats < 1:
            raise ValueError(f"--repeats {repeats}: at least 1, please")
        place = str(choose_device(device, "--device"))
        chosen = tuple(name.strip() for name in edits.split(",") if name.strip())
        if not chosen:
            raise ValueError("--edits is empty; see `keyface plugins list`")
        lengths, named = _lengths(frames, scale, dry_run), _ways(modes, variants)
        shared = EditSettings()
        if scale == "miniature":
            shared = miniature_defaults()
            shared = shared.for_categories(registry.select(list(chosen)), MINIATURE)
        shared = shared.with_values(settings, "--settings")
        ways = {way.name: way.apply(shared) for way in named}
        if dry_run:
            ways = {name: replace(way, steps=_DRY_STEPS) for name, way in ways.items()}
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
        return cls(lengths, ways, 1 if dry_run else repeats, request, chosen)


def measure(comparison: Comparison) -> list[dict[str, Any]]:
    """Fill the table, length by length, way by way as they were asked for."""
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = Path(name)
        clips = _render_clips(comparison, folder)
        cells = [
            Cell(way, _asked(comparison, length, clips, folder / f"edited-{number}-{length}", settings))
            for length in comparison.lengths
            for number, (way, settings) in enumerate(comparison.ways.items())
        ]
        first = {cell.request.frames: cell for cell in reversed(cells)}
        return [
            cell.row(_quality(cell, first[cell.request.frames], clips))
            for cell in run_interleaved(cells, comparison.repeats, folder, say)
        ]


def _render_clips(comparison: Comparison, folder: Path) -> dict[int, RenderedClip]:
    """Render the miniature's clips by length; none for shapes with random weights, which know nothing."""
    request = comparison.request
    if request.scale == "sd21":
        return {}
    from keyface.benchmark.quality import render_clip

    categories = registry.select(list(comparison.edits))
    return {
        length: render_clip(
            categories, folder / f"clip-{length}", length, request.size, request.settings.seed
        )
        for length in comparison.lengths
    }


def _asked(
    comparison: Comparison,
    length: int,
    clips: Mapping[int, RenderedClip],
    edited: Path,
    settings: EditSettings,
) -> Request:
    asked = replace(comparison.request, frames=length, settings=settings)
    clip = clips.get(length)
    if clip is None:
        return asked
    return replace(asked, clip=clip.path, edited=edited, prompts=clip.trial.prompts)


def _quality(cell: Cell, first: Cell, clips: Mapping[int, RenderedClip]) -> dict[str, float | None]:
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


def known_modes() -> dict[str, Variant]:
    """Return the modes by name: frame by frame, and the rows of configs/evaluate/propagation.yaml."""
    frame = Variant("frame", {"interval": 1, "joint_attention": False})
    ours = {each.name: each for each in read_variants("propagation")}
    return {"frame": frame, "tokenflow": ours.pop("tokenflow"), **ours}


def _ways(modes: str | None, variants: Path | str | None) -> Sequence[Variant]:
    """Return the ways to edit that are asked for; all modes where neither option is given."""
    known = known_modes()
    found = list(known.values()) if modes is None and variants is None else []
    for name in (part.strip() for part in (modes or "").split(",") if part.strip()):
        if name not in known:
            raise ValueError(f"--modes {modes}: unknown mode {name!r}; choose from {', '.join(known)}")
        found.append(known[name])
    found += read_variants(variants) if variants is not None else []
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice by --modes and --variants; leave one of the two out")
    if not found:
        raise ValueError(f"--modes is empty; choose from {', '.join(known)}")
    for each in found:
        if "base" in each.branches.values():
            raise ValueError(f"--variants {variants}: {each.name}: the benchmark has tuned networks only")
    return found


def _side(scale: Scale, size: int | None, dry_run: bool) -> int:
    if size is not None:
        if size < 16:
            raise ValueError(f"--size {size}: at least 16 pixels, please")
        return size
    if scale == "miniature":
        from keyface.miniature import zoo

        return zoo.backbone().image_size
    from keyface.benchmark.sd21 import PIXELS

    return _DRY_SIZE if dry_run else PIXELS
