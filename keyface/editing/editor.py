"""Edit a clip by text: invert, edit keyframes with the person's features, propagate, decode, compose."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from keyface.diffusion.additions.control import Control, ControlImages, ControlNet
from keyface.diffusion.additions.face_adapter import FaceReference
from keyface.diffusion.checks import NotFiniteError, require_finite
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.protocol import EditableModel, Network
from keyface.editing.clip import Clip, ControlOf, uncontrolled
from keyface.editing.clip_files import ClipShape, clip_layout
from keyface.editing.edited import EditedClip, EditReport
from keyface.editing.frames import FrameStream, MaskStream, TensorFrames, TensorMasks
from keyface.editing.gate import gate_keyframes, reconstruct
from keyface.editing.keyframes import KeyframeChoice
from keyface.editing.settings import Composition, EditSettings, Injection, Prompts, Propagation
from keyface.editing.strategies.latent import LatentStrategy
from keyface.editing.strategies.strategy import Networks, Strategy
from keyface.editing.strategies.tokenflow import TokenFlowStrategy
from keyface.editing.strategies.tokens import TokenStrategy
from keyface.resume.batches import Advance, free_memory
from keyface.resume.cache import CachedWork
from keyface.resume.journal import Journal
from keyface.resume.memory_maps import MemoryMaps, layout_bytes
from keyface.resume.session import Session

__all__ = [
    "Composition",
    "EditReport",
    "EditSettings",
    "EditedClip",
    "FrameStream",
    "Injection",
    "Prompts",
    "Propagation",
    "TensorFrames",
    "TensorMasks",
    "VideoEditor",
]

BEFORE_EDIT = ("encode", "invert_sources", "invert_others", "reconstruct_keyframes", "errors")
"""Entries of the journal about work that does not depend on the target."""

STRATEGIES: dict[str, type[Strategy]] = {
    "tokens": TokenStrategy,
    "latent": LatentStrategy,
    "tokenflow": TokenFlowStrategy,
}
"""By the values of `propagation.mode`."""

Sink = Callable[[Tensor], None]
Progress = Callable[[str, int, int], None]


class VideoEditor:
    """Edits clips with an identity branch ε1 and an editing branch ε2.

    Forwards of the U-Nets a clip, with T frames, K = ⌈T / interval⌉ keyframes, S = strength · steps,
    k fixed-point iterations, u = injection.until, b = 2 branches (1 at guidance scale 1), and r the steps
    that every frame takes, (1 − keyframes_first) · S:

    =============  ==============================  ==============================
    stage          propagation `tokens`            propagation `latent`
    =============  ==============================  ==============================
    invert         K (k S + 3) + (T − K)(k m + 3)  K (k S + 3) + T n
    reconstruct    min(K, 8) S                     K S
    edit, ε1       K S u                           K S u
    edit, ε2       b (K S + (T − K) r)             b K S
    =============  ==============================  ==============================

    n is the number of levels at which tokens are compared (1), the only ones that other frames visit in
    `latent`, and m the greater of r and the last of them (.2 · steps). At T = 75, 20 steps, strength 1 and an
    interval of 8 that is 3,425 forwards with `tokens` and 1,005 with `latent`. `tokenflow`:
    T (k S + 3) + K S for the first two stages, 3 (K + T) S of one U-Net for the edit.

    The autoencoder encodes T frames and decodes 2 K for the gate. Then it decodes each frame twice, edited
    and as it was, or once with the composition `off`.

    Args:
        backbone: Autoencoder, text encoder, schedule.
        identity: ε1; None takes the backbone's own, untuned U-Net.
        direction: ε2; None likewise.
        settings: See `EditSettings`.
        controlnet: Controls every prediction by the control images of `prepare`; None for none.
        face: What a reference photo shows of the person, for ε2's target; None for none.

    Example:
        >>> editor = VideoEditor(backbone, identity, direction)              # doctest: +SKIP
        >>> edited, report = editor.edit_frames(frames, Prompts("a man", "a man with glasses"))
    """

    def __init__(
        self,
        backbone: EditableModel,
        identity: Network | None = None,
        direction: Network | None = None,
        settings: EditSettings | None = None,
        *,
        controlnet: ControlNet | None = None,
        face: FaceReference | None = None,
    ) -> None:
        self.backbone, self.controlnet, self.face = backbone, controlnet, face
        self.identity = backbone.unet if identity is None else identity
        self.direction = backbone.unet if direction is None else direction
        self.settings = EditSettings() if settings is None else settings
        self.strategy = STRATEGIES[self.settings.propagation.mode](self.settings)

    def changed(
        self, *, settings: EditSettings | None = None, face: FaceReference | None = None
    ) -> "VideoEditor":
        """Return an editor of the same networks with other settings, or with a face; None keeps its own."""
        return VideoEditor(
            self.backbone,
            self.identity,
            self.direction,
            self.settings if settings is None else settings,
            controlnet=self.controlnet,
            face=self.face if face is None else face,
        )

    @torch.no_grad()
    def edit(
        self,
        frames: FrameStream,
        prompts: Prompts,
        sink: Sink,
        *,
        regions: MaskStream | None = None,
        reconstruction_sink: Sink | None = None,
        progress: Progress | None = None,
        temporary: Path | None = None,
        session: Session | None = None,
    ) -> EditReport:
        """Edit a clip of any length; memory does not grow with it.

        Args:
            frames: As of `prepare`.
            prompts: Source and target caption.
            sink: Called with the edited frames in order, (n, 3, H, W) in [-1, 1] on the CPU: composed with
                the clip as `settings.composition` says.
            regions: As of `prepare`.
            reconstruction_sink: Called likewise with what the frames become where nothing is edited:
                the autoencoder's round trip in `latent`; else inverted and denoised again,
                for which the frames between keyframes cost further forwards.
            progress: Called with a stage's name, units done and units to do.
            temporary: As of `prepare`.
            session: As of `prepare`. Decoding starts anew: a sink gets every frame.

        Returns:
            EditReport.

        Raises:
            NotFiniteError: a network gave NaN or infinity; the message names the stage, and the journal does
                not count it as done.
        """
        sinks = 1 if reconstruction_sink is None else 2
        with self.prepare(
            frames,
            prompts,
            regions=regions,
            reconstructions=reconstruction_sink is not None,
            progress=progress,
            temporary=temporary,
            session=session,
        ) as edited:
            advance = _counter("decode", sinks * len(frames), progress)
            for layer in edited.layers(advance):
                sink(layer.edited)
            if reconstruction_sink is not None:
                for images in edited.reconstructions(advance):
                    reconstruction_sink(images)
            return edited.report

    @contextmanager
    def prepare(
        self,
        frames: FrameStream,
        prompts: Prompts,
        *,
        regions: MaskStream | None = None,
        reconstructions: bool = False,
        progress: Progress | None = None,
        temporary: Path | None = None,
        session: Session | None = None,
        cached: CachedWork | None = None,
        control: ControlImages | None = None,
        choice: KeyframeChoice | None = None,
    ) -> Iterator[EditedClip]:
        """Edit a clip up to the latents of its frames, whose files are there until the block ends.

        Args:
            frames: Read in order, once for the edit and once more for each decoding; their sides must be
                multiples of the model's coarsest cell.
            prompts: Source and target caption.
            regions: Where the edit may change each frame, at the frames' size; None where that is not known.
            reconstructions: Whether `EditedClip.reconstructions` will be asked for.
            progress: Called with a stage's name, units done and units to do.
            temporary: Where to make the folder of temporary files, which is removed at the end; None: the
                system's place for them.
            session: An open folder that keeps everything instead, so that a killed edit goes on where it was.
            cached: Keeps what comes before the edit itself for other edits of the clip, or has it already.
            control: The control images of frames, where there is a ControlNet.
            choice: The keyframes, where the frames are a part of a longer clip; None draws them.

        Raises:
            NotFiniteError: As of `edit`.
            ValueError: There is a ControlNet, and no `control`.
        """
        modules = (
            self._inverter,
            self.identity,
            self.direction,
            self.backbone.vae,
            self.backbone.text_encoder,
        )
        every_frame = reconstructions and self.strategy.inverts_others
        with evaluating(*modules), _place(temporary, session) as (maps, journal):
            clip = Clip.open(
                self.backbone,
                self._inverter,
                self.strategy,
                frames,
                maps,
                journal,
                self._control_of(control),
                choice,
            )
            seconds: dict[str, float] = {}
            if cached is not None:
                cached.restore(maps, clip.batches.journal)
            psnr = self._edit(clip, frames, prompts, every_frame, seconds, progress, cached)
            unedited = clip.reconstructed if every_frame else clip.clean
            disk = self.temporary_bytes(frames, choice)
            yield EditedClip(clip, frames, regions, unedited, psnr, seconds, disk)

    @torch.no_grad()
    def _edit(
        self,
        clip: Clip,
        frames: FrameStream,
        prompts: Prompts,
        every_frame: bool,
        seconds: dict[str, float],
        progress: Progress | None,
        cached: CachedWork | None,
    ) -> tuple[float, float]:
        """Run the stages up to the edited latents; return the PSNRs of `reconstruct`."""
        with _stage("encode", clip.length, seconds, progress) as advance:
            source, target, negative = self._encode_prompts(prompts)
            clip.encode(frames, advance)
        with _stage("invert", clip.length, seconds, progress) as advance:
            clip.invert(source, advance)
        units = clip.length if every_frame else len(gate_keyframes(clip, every_frame))
        with _stage("reconstruct", units, seconds, progress) as advance:
            psnr = reconstruct(clip, source, every_frame, advance)
        if cached is not None:
            cached.keep(clip.maps, clip.unedited_files(), clip.batches.journal.entries(BEFORE_EDIT))
        guidance = Guidance.of(target, negative, self.settings.guidance_scale, self.settings.guidance_limit)
        networks = Networks(self.identity, self.direction, guidance, source)
        denoiser = self.strategy.denoiser(clip, networks)
        with _stage("edit", denoiser.work, seconds, progress) as advance:
            denoiser.run(advance)
        return psnr

    def temporary_bytes(self, frames: FrameStream, choice: KeyframeChoice | None = None) -> int:
        """Return the bytes that the temporary files of an edit take; `choice` as of `prepare`."""
        shape = ClipShape.of(self.backbone, self._inverter, self.strategy, frames, choice)
        return layout_bytes(clip_layout(shape, self.strategy))

    @property
    def _inverter(self) -> Network:
        return self.identity if self.settings.inversion == "identity" else self.backbone.unet

    def _control_of(self, images: ControlImages | None) -> ControlOf:
        controlnet = self.controlnet
        if controlnet is None:
            return uncontrolled
        if images is None:
            raise ValueError("there is a ControlNet and nothing that it looks at; give `control`")
        return lambda frames: Control(controlnet.network, images(frames), controlnet.strength)

    def edit_frames(self, frames: Tensor, prompts: Prompts) -> tuple[Tensor, EditReport]:
        """Edit frames in memory: (T, 3, H, W) in [-1, 1] → the same, edited, and the report."""
        edited: list[Tensor] = []
        report = self.edit(TensorFrames(frames), prompts, edited.append)
        return torch.cat(edited), report

    def _encode_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
        negative = prompts.source if prompts.negative is None else prompts.negative
        encoded = self.backbone.encode_prompts([prompts.source, prompts.target, negative])
        require_finite(encoded, "the text encoder's embeddings")
        source, target, against = encoded.to(self.backbone.device).chunk(3)
        if self.face is None:
            return source, target, against
        return self.face.unseen(source), self.face.shown(target), self.face.unseen(against)


@contextmanager
def _place(temporary: Path | None, session: Session | None) -> Iterator[tuple[MemoryMaps, Journal | None]]:
    """Give the folder of the clip's files, and the journal of what is done where there is one."""
    if session is not None:
        yield session.maps, session.journal
        return
    with MemoryMaps.folder_in(temporary) as maps:
        yield maps, None


@contextmanager
def _stage(name: str, total: int, seconds: dict[str, float], progress: Progress | None) -> Iterator[Advance]:
    """Time a stage, report how far it is, and name it where its numbers are not finite."""
    free_memory()
    started = time.perf_counter()
    advance = _counter(name, total, progress)
    try:
        yield advance
    except NotFiniteError as error:
        raise NotFiniteError(f"{name}: {error}") from error
    seconds[name] = time.perf_counter() - started


def _counter(name: str, total: int, progress: Progress | None) -> Advance:
    """Return what counts a stage's units and reports how many are done."""
    done = 0

    def advance(units: int) -> None:
        nonlocal done
        done += units
        if progress is not None:
            progress(name, done, total)

    advance(0)
    return advance


@contextmanager
def evaluating(*modules: Network) -> Iterator[None]:
    """Put modules into evaluation mode, and each of their parts back into the mode it was in."""
    before = {part: part.training for module in modules for part in module.modules()}
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in before.items():
            part.training = training
