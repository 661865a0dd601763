"""`keyface edit`: one video in, the same video with its face edited out."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings

if TYPE_CHECKING:
    from keyface.pipeline.record import EditRecord
    from keyface.plugins import Category

SHARES = {"encode": 0.05, "invert": 0.35, "reconstruct": 0.1, "edit": 0.45, "decode": 0.05}
"""Stage of an edit → about which part of its time it takes, for the progress bar."""


def edit(
    video: Path,
    output: Path,
    edits: str | None = None,
    prompt: str | None = None,
    source: str | None = None,
    negative: str | None = None,
    compare: Path | None = None,
    weights: str = "miniature",
    identity: Path | None = None,
    direction: Path | None = None,
    categories: Path | None = None,
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    crop: str | None = None,
    max_seconds: float | None = None,
    on_corrupt: Literal["error", "hold"] = "error",
    device: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
    json: bool = False,
) -> None:
    """Edit the face in a video while the person stays the same person.

    The output keeps the frames' number and time stamps and the audio. A file OUTPUT.json beside it says
    how it was made and how well the model knows the clip. Until the output is complete, a folder OUTPUT.state
    holds what is done: the same command goes on where it was stopped. Without --weights the miniature is
    used, which comes with keyface and knows rendered faces only.

    Args:
        video: The video to edit: mp4, mov, mkv, webm or avi.
        output: The video to write: .mp4, .m4v, .mov or .mkv.
        edits: Edit categories separated by commas, such as beard,glasses; see `keyface plugins list`.
        prompt: What the clip shall show, in words, instead of --edits.
        source: What the clip shows, in words; found by itself with the miniature.
        negative: What guidance moves away from; the source caption if not given.
        compare: Also write a video here with original and result side by side.
        weights: A backbone: miniature, a folder in diffusers' layout, a .safetensors file, OWNER/NAME on the
            model hub, or a name of `keyface weights list`.
        identity: Folder of ε1, the identity branch: of an export, a run, or an experiment, of which the
            newest run with an export is taken.
        direction: Folder of ε2, the editing branch, likewise.
        categories: YAML file with edit categories of your own.
        settings: How to edit; what is not given is as the weights' edit.yaml and the categories ask for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        guidance: Short for --settings.guidance_scale: scale of classifier-free guidance.
        strength: Short for --settings.strength: fraction of the inversion that is undone; less changes less.
        seed: Short for --settings.seed: decides which frames become keyframes.
        crop: Square to edit, as x,y,size in pixels; the largest in the middle if not given.
        max_seconds: Edit only the first so many seconds.
        on_corrupt: What to do at damaged frames: stop, or hold the last good one.
        device: Where to compute, such as cuda or cpu; on a GPU where there is one if not given.
        overwrite: Replace existing output files.
        resume: Only go on with an edit that was stopped. The same command does so by itself.
        restart: Begin anew although an edit of this output was stopped.
        json: Print the content of OUTPUT.json on stdout, and nothing else there.

    Raises:
        ValueError: The request does not fit together, or the video cannot be used.
        FileNotFoundError: An input does not exist.
    """
    from keyface.commands.console import print_json
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.request import VideoRequest
    from keyface.progress import say, stages

    request = VideoRequest(
        video,
        output,
        edits=chosen_categories(edits, categories),
        prompt=prompt,
        source=source,
        negative=negative,
        settings=given_settings(settings, steps=steps, guidance=guidance, strength=strength, seed=seed),
        compare=compare,
        crop=crop,
        max_seconds=max_seconds,
        on_corrupt=on_corrupt,
        overwrite=overwrite,
        resume=resume,
        restart=restart,
    )
    pipe = FaceEditPipeline.from_pretrained(weights, identity, direction, device, say=say)
    if pipe.familiarity is not None:
        say(f"weights: {weights}; {pipe.familiarity.scope}")
    with stages(SHARES) as progress:
        record = pipe.run(request, progress, say)
    summarize(record)
    if json:
        print_json(record.sidecar)


def chosen_categories(edits: str | None, file: Path | None) -> list[Category]:
    """Return the categories named in "a,b", among them those of a YAML file."""
    from keyface.plugins import edits as installed

    registry = installed if file is None else installed.with_yaml(file)
    return registry.select([name.strip() for name in (edits or "").split(",") if name.strip()])


def summarize(record: EditRecord) -> None:
    """Print what was written, what it is worth, and what to do next."""
    from keyface.progress import say

    sidecar, written = record.sidecar, [record.output, record.path]
    for warning in sidecar["warnings"]:
        say(f"warning: {warning}")
    metrics = sidecar["metrics"]
    say(
        f"{sidecar['input']['frames']} frames in {sum(metrics['seconds'].values()):.1f} s; reconstruction "
        f"{metrics['reconstruction_psnr']:.1f} dB, autoencoder alone {metrics['vae_psnr']:.1f} dB"
    )
    if record.compare is not None:
        written.append(record.compare)
    say(f"wrote {', '.join(map(str, written))}. {sidecar['statement']}")
    if record.compare is None:
        say("next: add --compare both.mp4 --overwrite to see original and result side by side")
    else:
        say("next: `keyface evaluate --help` says how edits are scored")
