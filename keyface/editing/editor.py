"""Edit a clip by text: invert, edit keyframes with the person's features, propagate, decode."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.checks import NotFiniteError, require_finite
from keyface.diffusion.guidance import Guidance
from keyface.editing.clip import Clip
from keyface.editing.clip_files import ClipShape, clip_layout
from keyface.editing.frames import FrameStream, TensorFrames
from keyface.editing.gate import reconstruct
from keyface.editing.settings import EditSettings, Injection, Prompts, Propagation
from keyface.editing.strategies.latent import LatentStrategy
from keyface.editing.strategies.strategy import Networks, Strategy
from keyface.editing.strategies.tokenflow import TokenFlowStrategy
from keyface.editing.strategies.tokens import TokenStrategy
from keyface.resume.batches import Advance, free_memory
from keyface.resume.journal import Journal
from keyface.resume.memory_maps import MemoryMaps, layout_bytes
from keyface.resume.session import Session

__all__ = [
    "EditReport",
    "EditSettings",
    "FrameStream",
    "Injection",
    "Prompts",
    "Propagation",
    "TensorFrames",
    "VideoEditor",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "tokens": TokenStrategy,
    "latent": LatentStrategy,
    "tokenflow": TokenFlowStrategy,
}
"""By the values of `propagation.mode`."""

Sink = Callable[[Tensor], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EditReport:
    """What was done and how well the clip could be kept at best.

    Attributes:
        frames: Number of frames edited.
        keyframes: Their frame numbers; with keyframes drawn anew at each step, those of the gate.
        vae_psnr: dB on keyframes, autoencoder round trip against the original.
        reconstruction_psnr: dB on keyframes, inversion and reconstruction against the original;
            far below `vae_psnr` means that the model does not know this clip.
        seconds: By stage: encode, invert, reconstruct, edit, decode; of this process, where an edit was
            resumed.
        disk_bytes: Temporary files.
    """

    frames: int
    keyframes: tuple[int, ...]
    vae_psnr: float
    reconstruction_psnr: float
    seconds: dict[str, float]
    disk_bytes: int = 0


class VideoEditor:
    """Edits clips with an identity branch ε1 and an editing branch ε2.

    Forwards of the U-Nets a clip, with T frames, K = ⌈T / interval⌉ keyframes, S = strength · steps,
    k fixed-point iterations, u = injection.until, b = 2 branches (1 at guidance scale 1), and r the steps
    that every frame takes, (1 − keyframes_first) · S:

    =============  ==============================  ==============================
    stage          propagation `tokens`            propagation `latent`
    =============  ==============================  ==============================
    invert         K (k S + 3) + (T − K)(k m + 3)  K (k S + 3) + T n
    reconstruct    K S                             K S
    edit, ε1       K S u                           K S u
    edit, ε2       b (K S + (T − K) r)             b K S
    =============  ==============================  ==============================

    n is the number of levels at which tokens are compared (1), the only ones that other frames visit in
    `latent`, and m the greater of r and the last of them (.2 · steps). At T = 75, 20 steps, strength 1 and an
    interval of 8 that is 3,465 forwards with `tokens` and 1,005 with `latent`. `tokenflow`:
    T (k S + 3) + K S for the first two stages, 3 (K + T) S of one U-Net for the edit.

    Args:
        backbone: Autoencoder, text encoder, schedule.
        identity: ε1; None takes the backbone's own, untuned U-Net.
        direction: ε2; None likewise.
        settings: See `EditSettings`.

    Example:
        >>> editor = VideoEditor(backbone, identity, direction)              # doctest: +SKIP
        >>> edited, report = editor.edit_frames(frames, Prompts("a man", "a man with glasses"))
    """

    def __init__(
        self,
        backbone: Backbone,
        identity: UNet2DConditionModel | None = None,
        direction: UNet2DConditionModel | None = None,
        settings: EditSettings | None = None,
    ) -> None:
        self.backbone = backbone
        self.identity = backbone.unet if identity is None else identity
        self.direction = backbone.unet if direction is None else direction
        self.settings = EditSettings() if settings is None else settings
        self.strategy = STRATEGIES[self.settings.propagation.mode](self.settings)

    @torch.no_grad()
    def edit(
        self,
        frames: FrameStream,
        prompts: Prompts,
        sink: Sink,
        *,
        reconstruction_sink: Sink | None = None,
        progress: Progress | None = None,
        temporary: Path | None = None,
        session: Session | None = None,
    ) -> EditReport:
        """Edit a clip of any length; memory does not grow with it.

        Args:
            frames: Read once, in order; its sides must be multiples of the model's coarsest cell.
            prompts: Source and target caption.
            sink: Called with the edited frames in order, (n, 3, H, W) in [-1, 1] on the CPU.
            reconstruction_sink: Called likewise with what the frames become where nothing is edited:
                the autoencoder's round trip in `latent`; else inverted and denoised again,
                for which the frames between keyframes cost further forwards.
            progress: Called with a stage's name, units done and units to do.
            temporary: Where to make the folder of temporary files, which is removed at the end; None: the
                system's place for them.
            session: An open folder that keeps everything instead, so that a killed edit goes on where it was.
                Decoding starts anew: a sink gets every frame.

        Returns:
            EditReport.

        Raises:
            NotFiniteError: a network gave NaN or infinity; the message names the stage, and the journal does
                not count it as done.
        """
        seconds: dict[str, float] = {}
        modules = (
            self._inverter,
            self.identity,
            self.direction,
            self.backbone.vae,
            self.backbone.text_encoder,
        )
        with evaluating(*modules), _place(temporary, session) as (maps, journal):
            clip = Clip.open(self.backbone, self._inverter, self.strategy, frames, maps, journal)
            with _stage("encode", clip.length, seconds, progress) as advance:
                source, target, negative = self._encode_prompts(prompts)
                clip.encode(frames, advance)
            with _stage("invert", clip.length, seconds, progress) as advance:
                clip.invert(source, advance)
            every_frame = reconstruction_sink is not None and self.strategy.every_frame_from > 0
            units = clip.length if every_frame else len(clip.keyframes)
            with _stage("reconstruct", units, seconds, progress) as advance:
                vae_psnr, reconstruction_psnr = reconstruct(clip, source, every_frame, advance)
            guidance = Guidance.of(target, negative, self.settings.guidance_scale)
            networks = Networks(self.identity, self.direction, guidance, source)
            denoiser = self.strategy.denoiser(clip, networks)
            with _stage("edit", denoiser.work, seconds, progress) as advance:
                denoiser.run(advance)
            sinks = 1 if reconstruction_sink is None else 2
            with _stage("decode", sinks * clip.length, seconds, progress) as advance:
                _decode(clip, clip.edited, sink, advance)
                if reconstruction_sink is not None:
                    kept = clip.reconstructed if every_frame else clip.clean
                    _decode(clip, kept, reconstruction_sink, advance)
        return EditReport(
            clip.length,
            clip.keyframes,
            vae_psnr,
            reconstruction_psnr,
            seconds,
            self.temporary_bytes(frames),
        )

    def temporary_bytes(self, frames: FrameStream) -> int:
        """Return the bytes that the temporary files of an edit take."""
        shape = ClipShape.of(self.backbone, self._inverter, self.strategy, frames)
        return layout_bytes(clip_layout(shape, self.strategy))

    @property
    def _inverter(self) -> UNet2DConditionModel:
        return self.identity if self.settings.inversion == "identity" else self.backbone.unet

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
        return source, target, against


def _decode(clip: Clip, latents: Tensor, sink: Sink, advance: Advance) -> None:
    def work(part: Sequence[int]) -> None:
        frames = clip.decode(latents[list(part)])
        sink(frames)

    clip.batches.each(range(clip.length), work, advance)


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
    done, started = 0, time.perf_counter()

    def advance(units: int) -> None:
        nonlocal done
        done += units
        if progress is not None:
            progress(name, done, total)

    if progress is not None:
        progress(name, 0, total)
    try:
        yield advance
    except NotFiniteError as error:
        raise NotFiniteError(f"{name}: {error}") from error
    seconds[name] = time.perf_counter() - started


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode, and each of their parts back into the mode it was in."""
    before = {part: part.training for module in modules for part in module.modules()}
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in before.items():
            part.training = training
