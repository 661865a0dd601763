"""Sidecar JSON and quality warnings of an edit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keyface

if TYPE_CHECKING:
    from keyface.editing.editor import EditReport
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.companions import Familiarity
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.request import VideoRequest

SYNTHETIC = "This video is synthetic: the face in it was edited by a generative model (keyface)."
POOR_AUTOENCODER_DB = 25.0
POOR_INVERSION_DB = 3.0


@dataclass(frozen=True)
class EditRecord:
    """Name what an edit wrote.

    Attributes:
        output: The edited video.
        path: The sidecar.
        compare: The video of original and result side by side, if one was asked for.
        sidecar: What the sidecar says: inputs' hashes, prompts, settings, metrics, warnings.
    """

    output: Path
    path: Path
    compare: Path | None
    sidecar: dict[str, Any]


def describe(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    prompts: Prompts,
    settings: EditSettings,
    report: EditReport,
    surprise: float | None,
) -> dict[str, Any]:
    """Return what the sidecar says: what was done to what, with what, and how well; names but no paths."""
    reader = request.reader
    return {
        "statement": SYNTHETIC,
        "keyface": keyface.__version__,
        "input": {
            "name": request.video.name,
            "sha256": request.sha256,
            "frames": len(reader),
            "fps": str(reader.fps),
        },
        "model": pipe.name,
        "weights": dict(pipe.versions),
        "edits": [category.name for category in request.categories],
        "prompts": asdict(prompts),
        "crop": asdict(request.square),
        "settings": asdict(settings),
        "metrics": {
            "vae_psnr": report.vae_psnr,
            "reconstruction_psnr": report.reconstruction_psnr,
            "surprise": surprise,
            "seconds": report.seconds,
            "keyframes": list(report.keyframes),
            "held_frames": reader.held,
        },
        "warnings": warnings_of(report, reader.held, pipe.familiarity, surprise),
    }


def warnings_of(
    report: EditReport, held: int, familiarity: Familiarity | None, surprise: float | None
) -> list[str]:
    """Return what speaks against trusting the edit: a poor reconstruction, a strange face, damage.

    Args:
        report: What the editor measured.
        held: Damaged frames in whose place the last good one was repeated.
        familiarity: Gave the surprise.
        surprise: How foreign the clip's face is to the model; None where nothing tells.
    """
    found = []
    if familiarity is not None and surprise is not None and surprise > familiarity.limit:
        found.append(
            f"the model does not know this face: its surprise is {surprise:.2f}, that of faces which the "
            f"model knows is below {familiarity.limit:g}; expect no sensible edit"
        )
    scope = "it needs other weights" if familiarity is None else familiarity.scope
    if report.vae_psnr < POOR_AUTOENCODER_DB:
        found.append(
            f"the model does not know this face: even its autoencoder alone returns the clip at only "
            f"{report.vae_psnr:.1f} dB; {scope}"
        )
    if report.vae_psnr - report.reconstruction_psnr > POOR_INVERSION_DB:
        found.append(
            f"the model does not know this face well: unedited, it returns the clip at "
            f"{report.reconstruction_psnr:.1f} dB, its autoencoder {report.vae_psnr:.1f} dB; {scope}"
        )
    if held:
        found.append(f"{held} damaged frames repeat the last good one")
    return found
