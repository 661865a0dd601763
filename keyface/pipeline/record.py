"""What an edit says of itself: the sidecar, the summary, and doubts where there are reasons."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyface.editing.editor import EditReport
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.setup import Models
    from keyface.pipeline.square import Crop
    from keyface.plugins.category import Category
    from keyface.video import VideoReader

SYNTHETIC = "This video is synthetic: the face in it was edited by a generative model (keyface)."
POOR_AUTOENCODER_DB = 25.0
POOR_INVERSION_DB = 3.0


def describe(
    video: Path,
    reader: VideoReader,
    crop: Crop,
    models: Models,
    weights: dict[str, str],
    chosen: list[Category],
    prompts: Prompts,
    settings: EditSettings,
    report: EditReport,
    surprise: float | None,
) -> dict[str, Any]:
    """Returns everything that the sidecar says: what was done to what, with what, and how well."""
    import keyface

    return {
        "statement": SYNTHETIC,
        "keyface": keyface.__version__,
        "input": {"name": video.name, "sha256": sha256(video), "frames": len(reader), "fps": str(reader.fps)},
        "model": "miniature" if models.is_miniature else "user's weights",
        "weights": weights,
        "edits": [category.name for category in chosen],
        "prompts": asdict(prompts),
        "crop": asdict(crop),
        "settings": asdict(settings),
        "metrics": {
            "vae_psnr": report.vae_psnr,
            "reconstruction_psnr": report.reconstruction_psnr,
            "surprise": surprise,
            "seconds": report.seconds,
            "keyframes": list(report.keyframes),
            "held_frames": reader.held,
        },
        "warnings": doubts(report, models, surprise),
    }


def hashes(models: Models) -> dict[Path, str]:
    """Returns the hash of every file of weights that the user named, or of the miniature's."""
    from keyface.models.backbones import files_of

    if not models.folders:
        from keyface.miniature.zoo import WEIGHTS

        folders = [WEIGHTS / name for name in ("base", "identity", "direction")]
        return {file: sha256(file) for folder in folders for file in sorted(folder.rglob("*.safetensors"))}
    return {file: sha256(file) for folder in models.folders for file in files_of(str(folder))}


def what_decides(
    video: Path,
    reader: VideoReader,
    square: Crop,
    models: Models,
    weights: dict[Path, str],
    prompts: Prompts,
    settings: EditSettings,
) -> dict[str, Any]:
    """Returns everything that the edited frames depend on: a stopped edit goes on only with the same."""
    import keyface

    return {
        "keyface": keyface.__version__,
        "input": {"sha256": sha256(video), "frames": len(reader)},
        "weights": {str(file): digest for file, digest in weights.items()},
        "prompts": asdict(prompts),
        "crop": asdict(square),
        "settings": asdict(settings),
        "device": str(models.backbone.device),
    }


def doubts(report: EditReport, models: Models, surprise: float | None) -> list[str]:
    """Returns what speaks against trusting the edit: a poor reconstruction, or a strange face.

    Args:
        report: What the editor measured.
        models: What edited.
        surprise: How foreign the clip is to the miniature (`keyface.miniature.familiarity`), if it edited.
    """
    from keyface.miniature.familiarity import LIMIT

    found = []
    if surprise is not None and surprise > LIMIT:
        found.append(
            f"the model does not know this face: its surprise is {surprise:.2f}, that of the rendered faces "
            f"which the miniature knows is below {LIMIT:g}; expect no sensible edit"
        )
    unknown = "the miniature knows rendered faces only" if models.is_miniature else "it needs other weights"
    if report.vae_psnr < POOR_AUTOENCODER_DB:
        found.append(
            f"the model does not know this face: even its autoencoder alone returns the clip at only "
            f"{report.vae_psnr:.1f} dB; {unknown}"
        )
    if report.vae_psnr - report.reconstruction_psnr > POOR_INVERSION_DB:
        found.append(
            f"the model does not know this face well: unedited, it returns the clip at "
            f"{report.reconstruction_psnr:.1f} dB, its autoencoder {report.vae_psnr:.1f} dB; {unknown}"
        )
    return found


def summarize(output: Path, reader: VideoReader, report: EditReport, warnings: list[str]) -> None:
    """Prints what was written and what it is worth."""
    for doubt in warnings:
        say(f"warning: {doubt}")
    if reader.held:
        say(f"warning: {reader.held} damaged frames repeat the last good one")
    say(
        f"{output}: {report.frames} frames in {sum(report.seconds.values()):.1f} s; reconstruction "
        f"{report.reconstruction_psnr:.1f} dB, autoencoder alone {report.vae_psnr:.1f} dB; {SYNTHETIC}"
    )


def sha256(path: Path) -> str:
    """Returns the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """Prints to stderr, where the progress bars are."""
    print(text, file=sys.stderr)
