"""`keyface edit`: one video in, the same video with its face edited out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from keyface.editing.settings import given_settings
from keyface.pipeline.defaults import GivenSettings
from keyface.pipeline.request.framing import Framing
from keyface.pipeline.stages import EACH_CLIP, SHARES
from keyface.video.encoding import Encoding

if TYPE_CHECKING:
    from keyface.pipeline.output.record import EditRecord
    from keyface.plugins import Category


def edit(
    video: Path,
    output: Path | None = None,
    edits: str | None = None,
    prompt: str | None = None,
    source: str | None = None,
    negative: str | None = None,
    person: str | None = None,
    compare: Path | None = None,
    mask_video: Path | None = None,
    preview: Path | None = None,
    weights: str = "miniature",
    identity: Path | None = None,
    direction: Path | None = None,
    lora: list[str] | None = None,
    embedding: list[str] | None = None,
    controlnet: str | None = None,
    control: str | None = None,
    ip_adapter: str | None = None,
    reference_face: Path | None = None,
    categories: Path | None = None,
    settings: GivenSettings = MappingProxyType({}),
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    compose: Literal["off", "mask", "detail"] | None = None,
    finder: Literal["insightface", "human", "face-api", "miniature"] | None = None,
    crop: str | None = None,
    framing: Annotated[Mapping[str, Any], Framing] = MappingProxyType({}),
    doubtful: Literal["edit", "leave"] = "edit",
    start: str | None = None,
    end: str | None = None,
    max_seconds: float | None = None,
    encoding: Annotated[Mapping[str, Any], Encoding] = MappingProxyType({}),
    label: str | None = None,
    no_watermark: str | None = None,
    sign: str | None = None,
    cache: Path | None = None,
    on_corrupt: Literal["error", "hold"] = "error",
    device: str | None = None,
    devices: int = 1,
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    strict_device: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
    json: bool = False,
) -> None:
    """Edit a face in a video, or in a still, while the person stays the same person.

    Faces are found and followed; the frame changes only where the edit does. The output keeps the frames'
    number and time stamps and the audio. A file OUTPUT.json beside it says how it was made and how well the
    model knows the face. Until the output is complete, a folder OUTPUT.state holds what is done: the same
    command goes on where it was stopped. Without --weights the miniature is used, which comes with keyface
    and knows rendered faces only. Outputs carry signed content credentials and, in the
    edited pixels, a watermark that is not seen; `keyface verify` reads both.

    Args:
        video: The video to edit: mp4, mov, mkv, webm or avi; or a still: png, jpg or webp.
        output: The file to write: .mp4, .m4v, .mov, .mkv or .webm; for a still .png, .jpg or .webp.
        edits: Edit categories separated by commas, such as beard,glasses, see `keyface plugins list`; for
            several people "1: glasses; 2: beard,smile".
        prompt: What the clip shall show, in words, instead of --edits.
        source: What the clip shows, in words; if not given, from a captioner or from what is seen in the
            face.
        negative: What guidance moves away from; if not given, the source caption with what categories add.
        person: Whose face is edited: 1 (who is seen most; so if not given), 2, largest, longest, all, or a
            photo of them; `keyface faces VIDEO` shows who is who.
        compare: Also write a video here with original and result side by side.
        mask_video: Also write a video here that is white where the edit may change the frame.
        preview: Edit three keyframes only, and write a picture (.png) of them here.
        weights: A backbone: miniature, a folder in diffusers' layout, a .safetensors file, OWNER/NAME on the
            model hub, or a name of `keyface weights list`.
        identity: Folder of ε1, the identity branch: of an export, a run, or an experiment, of which the
            newest run with an export is taken.
        direction: Folder of ε2, the editing branch, likewise.
        lora: A LoRA as FILE.safetensors or FILE.safetensors:STRENGTH, on top of both branches; may be
            repeated.
        embedding: A word by textual inversion as FILE.safetensors, which prompts may then use; may be
            repeated.
        controlnet: Folder of a ControlNet of diffusers, also as FOLDER:STRENGTH; goes with --control.
        control: What the ControlNet looks at: canny, the edges of each frame; or a video of the same frames
            with control images, such as depth.mp4.
        ip_adapter: An IP-Adapter-FaceID as FILE.safetensors or FILE.safetensors:STRENGTH; goes with
            --reference-face.
        reference_face: A photo of the person, who the edit shall look like.
        categories: YAML file with edit categories of your own.
        settings: How to edit; what is not given is as the weights' edit.yaml and the categories ask for.
        steps: Short for --settings.steps: denoising steps of the whole schedule.
        guidance: Short for --settings.guidance_scale: scale of classifier-free guidance.
        strength: Short for --settings.strength: fraction of the inversion that is undone; less changes less.
        seed: Short for --settings.seed: decides which frames become keyframes.
        compose: Short for --settings.composition.mode: how the edit is put onto the frame.
        finder: What finds the faces; if not given, what comes with the weights, else the first that is there.
        crop: A fixed square to edit instead of a face, as x,y,size in pixels; centre is the largest there is.
        framing: How the crop of a face is cut out of the frame.
        doubtful: What to do with faces that are small, turned away or cut by the border: edit or leave them.
        start: Edit only from this time on, in seconds or minutes:seconds; sound is cut with it.
        end: Edit only what is shown before this time.
        max_seconds: Edit only so many seconds.
        encoding: How the output is encoded.
        label: A small sign at the border of every frame that says this; none draws none, as if not given.
        no_watermark: Write no watermark into the edited pixels, for this reason, which goes into the record.
            Otherwise `keyface verify` finds one in copies that were encoded again, made smaller or cropped.
        sign: With whose key the content credentials of outputs are signed: KEY.pem:CERTIFICATES.pem, or one
            file with both; if not given, a certificate that keyface makes for you, which nobody trusts.
        cache: Folder that keeps what does not depend on the target: the next edit of the clip begins there.
        on_corrupt: What to do at damaged frames: stop, or hold the last good one.
        device: Where to compute, such as cuda or cpu; on a GPU where there is one if not given.
        devices: How many GPUs share the edit of a long clip, each with a part of it; with --device cpu, how
            many processes. Which parts there are decides the frames around their seams.
        dtype: Precision of the U-Nets, the rest is fp32; auto is bf16 on a GPU that has it, fp16 on older
            ones, fp32 on a CPU.
        strict_device: Take no CPU in place of a GPU: an error instead of a warning.
        overwrite: Replace existing output files.
        resume: Only go on with an edit that was stopped. The same command does so by itself.
        restart: Begin anew although an edit of this output was stopped.
        json: Print the content of OUTPUT.json on stdout, and nothing else there.

    Raises:
        ValueError: The request does not fit together, the video cannot be used, or shows no face.
        FileNotFoundError: An input does not exist.
    """
    from keyface.commands.console import print_json
    from keyface.diffusion.device import choose_device
    from keyface.pipeline.additions import Additions, require_partners
    from keyface.pipeline.companions import Companions
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.plan import make_plan
    from keyface.pipeline.request.request import VideoRequest
    from keyface.progress import say, stages

    if preview is not None and json:
        raise ValueError("--preview makes no OUTPUT.json that --json could print; leave one out")
    request = VideoRequest(
        video,
        output,
        edits=edits_of(edits, categories),
        prompt=prompt,
        source=source,
        negative=negative,
        settings=given_settings(
            settings, steps=steps, guidance=guidance, strength=strength, seed=seed, compose=compose
        ),
        person=person,
        finder=finder,
        crop=crop,
        framing=Framing(**framing),
        doubtful=doubtful,
        compare=compare,
        mask_video=mask_video,
        preview=preview,
        encoding=Encoding(**encoding),
        label=label,
        no_watermark=no_watermark,
        sign=sign,
        start=start,
        end=end,
        max_seconds=max_seconds,
        control=control,
        reference_face=reference_face,
        cache=cache,
        devices=devices,
        on_corrupt=on_corrupt,
        overwrite=overwrite,
        resume=resume,
        restart=restart,
    )
    additions = Additions.of(lora, embedding, controlnet, ip_adapter)
    require_partners(additions, request)
    with stages(SHARES, EACH_CLIP) as progress:
        companions = Companions.of(weights)
        place = choose_device(device, strict=strict_device)
        plan = make_plan(
            request, companions.finder, companions.placement, progress, place, strict=strict_device
        )
        pipe = FaceEditPipeline.from_pretrained(
            weights, identity, direction, device, dtype=dtype, additions=additions, say=say
        )
        if pipe.familiarity is not None:
            say(f"weights: {weights}; {pipe.familiarity.scope}")
        if preview is not None:
            say(f"wrote {pipe.preview(request, progress, say, plan)}")
            say("next: the same command without --preview edits the whole video")
            return
        record = pipe.run(request, progress, say, plan)
    summarize(record)
    if json:
        print_json(record.sidecar)


def edits_of(given: str | None, file: Path | None) -> dict[str, list[Category]] | list[Category]:
    """Return the categories named in "a,b", or in "1: a; 2: b" by person, among them those of a YAML file."""
    from keyface.pipeline.request.casting import by_person
    from keyface.plugins import edits as installed

    registry = installed if file is None else installed.with_yaml(file)

    def select(names: str) -> list[Category]:
        return registry.select([name.strip() for name in names.split(",") if name.strip()])

    if given is not None and ":" in given:
        return {who: select(names) for who, names in by_person(given).items()}
    return select(given or "")


def summarize(record: EditRecord) -> None:
    """Print what was written, what it is worth, and what to do next."""
    from keyface.progress import say

    sidecar, written = record.sidecar, [record.output, record.path]
    for warning in sidecar["warnings"]:
        say(f"warning: {warning}")
    metrics, frames = sidecar["metrics"], sidecar["input"]["frames"]
    seconds = sum(metrics["seconds"].values())
    say(
        f"{frames} frame{'s' if frames > 1 else ''} in {seconds:.1f} s; reconstruction "
        f"{metrics['reconstruction_psnr']:.1f} dB, autoencoder alone {metrics['vae_psnr']:.1f} dB"
    )
    written += [each for each in (record.compare, record.mask_video) if each is not None]
    say(f"wrote {', '.join(map(str, written))}. {sidecar['statement']}")
    if sidecar["credentials"]["self_made"]:
        say("signed with a certificate that keyface made for you, which nobody else trusts; see --sign")
    if record.compare is None:
        say("next: add --compare both.mp4 --overwrite to see original and result side by side")
    else:
        say("next: `keyface evaluate --help` says how edits are scored")
