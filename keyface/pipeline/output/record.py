"""Sidecar JSON and quality warnings of an edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keyface
from keyface.files import sha256
from keyface.marks.kinds import holds_credentials, sidecar_of
from keyface.video.formats import is_still

if TYPE_CHECKING:
    from keyface.editing.editor import EditReport
    from keyface.marks.credentials import Credentials
    from keyface.pipeline.companions import Familiarity
    from keyface.pipeline.output.watermarking import Marking
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.jobs import Job
    from keyface.pipeline.planning.plan import Plan
    from keyface.pipeline.request.request import VideoRequest

SYNTHETIC = "This video is synthetic: the face in it was edited by a generative model (keyface)."
SYNTHETIC_PICTURE = SYNTHETIC.replace("video", "picture")
POOR_AUTOENCODER_DB = 25.0
POOR_INVERSION_DB = 3.0
"""What inversion may lose of what the autoencoder keeps, before a user is warned."""

GOOD_INVERSION_DB = 32.0
"""From here on nobody sees what inversion loses: rendered faces that edit well lose 4 of 37."""


@dataclass(frozen=True)
class EditRecord:
    """Name what an edit wrote.

    Attributes:
        output: The edited video.
        path: The sidecar.
        compare: The video of original and result side by side, if one was asked for.
        mask_video: The video of what the edit might change, likewise.
        sidecar: What the sidecar says: inputs' hashes, prompts, settings, metrics, warnings.
    """

    output: Path
    path: Path
    compare: Path | None
    mask_video: Path | None
    sidecar: dict[str, Any]


def describe(
    pipe: FaceEditPipeline,
    request: VideoRequest,
    plan: Plan,
    jobs: Sequence[Job],
    reports: Sequence[EditReport],
    marking: Marking,
    credentials: Credentials,
) -> dict[str, Any]:
    """Return what the sidecar says: what was done to what, with what, and how well; names but no paths.

    `prompts`, `settings` and the crop are those of the first clip; `clips` has those of all.
    """
    assert request.output is not None, "a preview has no record"
    reader, first, output = request.reader, jobs[0], request.output
    surprises = [job.surprise for job in jobs if job.surprise is not None]
    return {
        "statement": statement_of(request.output),
        "keyface": keyface.__version__,
        "input": {
            "name": request.video.name,
            "sha256": request.sha256,
            "frames": len(reader),
            "fps": str(reader.fps),
        },
        "output": {
            "name": output.name,
            "sha256": sha256(output),
            "unsigned_sha256": credentials.unsigned[output],
        },
        "label": None if request.visible_label is None else request.visible_label.text,
        "watermark": marking.facts,
        "credentials": {
            "place": "in the file" if holds_credentials(output) else sidecar_of(output).name,
            "signer": credentials.identity.name,
            "self_made": credentials.identity.self_made,
        },
        "model": pipe.name,
        "weights": dict(pipe.versions),
        "device": pipe.backbone.device.type,
        "precision": pipe.precision,
        "additions": pipe.additions.facts | request.looked_at,
        "edits": [category.name for category in request.categories],
        "prompts": asdict(first.prompts),
        "crop": None if request.square is None else asdict(request.square),
        "framing": asdict(request.framing),
        "finder": plan.finder,
        "regions": None if pipe.find_regions is None or pipe.regions is None else pipe.regions.name,
        "settings": asdict(first.settings),
        "clips": [
            {
                "person": job.clip.person,
                "edits": [category.name for category in job.clip.categories],
                "first": job.clip.first,
                "frames": len(job.clip),
                "prompts": asdict(job.prompts),
                "settings": asdict(job.settings),
                "doubts": list(job.clip.doubts),
                "vae_psnr": report.vae_psnr,
                "reconstruction_psnr": report.reconstruction_psnr,
            }
            for job, report in zip(jobs, reports, strict=True)
        ],
        "metrics": {
            "vae_psnr": _mean(reports, "vae_psnr"),
            "reconstruction_psnr": _mean(reports, "reconstruction_psnr"),
            "surprise": max(surprises, default=None),
            "seconds": _seconds(reports),
            "keyframes": sorted(
                job.clip.first + keyframe
                for job, report in zip(jobs, reports, strict=True)
                for keyframe in report.keyframes
            ),
            "held_frames": reader.held,
            "untouched_frames": plan.untouched,
        },
        "warnings": list(
            dict.fromkeys(
                [doubt for job in jobs for doubt in job.clip.doubts]
                + [
                    warning
                    for job, report in zip(jobs, reports, strict=True)
                    for warning in warnings_of(report, reader.held, pipe.familiarity, job.surprise)
                ]
            )
        ),
    }


def statement_of(output: Path | None) -> str:
    """Return the sentence that says what an output is."""
    return SYNTHETIC_PICTURE if output is not None and is_still(output) else SYNTHETIC


def strangeness(familiarity: Familiarity | None, surprise: float | None) -> str | None:
    """Return a line that says that the model does not know a face; None where it may."""
    if familiarity is None or surprise is None or surprise <= familiarity.limit:
        return None
    return (
        f"the model does not know this face: its surprise is {surprise:.2f}, that of faces which the "
        f"model knows is below {familiarity.limit:g}; expect no sensible edit"
    )


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
    strange = strangeness(familiarity, surprise)
    found = [] if strange is None else [strange]
    scope = "it needs other weights" if familiarity is None else familiarity.scope
    if report.vae_psnr < POOR_AUTOENCODER_DB:
        found.append(
            f"the model does not know this face: even its autoencoder alone returns the clip at only "
            f"{report.vae_psnr:.1f} dB; {scope}"
        )
    lost = report.vae_psnr - report.reconstruction_psnr
    if lost > POOR_INVERSION_DB and report.reconstruction_psnr < GOOD_INVERSION_DB:
        found.append(
            f"the model does not know this face well: unedited, it returns the clip at "
            f"{report.reconstruction_psnr:.1f} dB, its autoencoder {report.vae_psnr:.1f} dB; {scope}"
        )
    if held:
        found.append(f"{held} damaged frames repeat the last good one")
    return found


def _mean(reports: Sequence[EditReport], name: str) -> float:
    """Return the mean of a figure over all frames that were edited."""
    frames = sum(report.frames for report in reports)
    return float(sum(report.frames * getattr(report, name) for report in reports) / frames)


def _seconds(reports: Sequence[EditReport]) -> dict[str, float]:
    """Return the time of each stage over all clips."""
    stages = dict.fromkeys(stage for report in reports for stage in report.seconds)
    return {stage: sum(report.seconds.get(stage, 0.0) for report in reports) for stage in stages}
