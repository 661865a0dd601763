"""An edited clip whose frames are still latents: decodes and composes them, as often as needed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from keyface.diffusion.checks import NotFiniteError
from keyface.editing.composition import Decoded, Layer, compose
from keyface.editing.frames import FrameStream, MaskStream
from keyface.editing.latents import ClipLatents
from keyface.resume.batches import Advance, free_memory

Made = TypeVar("Made")


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
            resumed. Decoding and composing count, but not what their frames are then used for.
        disk_bytes: Temporary files.
    """

    frames: int
    keyframes: tuple[int, ...]
    vae_psnr: float
    reconstruction_psnr: float
    seconds: dict[str, float]
    disk_bytes: int = 0


class EditedClip:
    """A clip between the edit and its pictures; `VideoEditor.prepare` makes one.

    Args:
        clip: Edited.
        frames: The clip's frames, which are read again.
        regions: Where the edit may change each frame; None where that is not known.
        unedited: Latents (T, C, h, w) of the clip without an edit, for `reconstructions`.
        psnr: Of the autoencoder, and of inversion and reconstruction, in dB.
        seconds: By stage, so far.
        disk_bytes: Temporary files.
    """

    def __init__(
        self,
        clip: ClipLatents,
        frames: FrameStream,
        regions: MaskStream | None,
        unedited: Tensor,
        psnr: tuple[float, float],
        seconds: dict[str, float],
        disk_bytes: int,
    ) -> None:
        self._clip, self._frames, self._regions, self._unedited = clip, frames, regions, unedited
        self._psnr, self._seconds, self._disk_bytes = psnr, seconds, disk_bytes

    @property
    def latents(self) -> ClipLatents:
        """Return what the pictures are decoded from."""
        return self._clip

    @property
    def report(self) -> EditReport:
        """Return what was done so far; seconds of decoding are those of the layers that were taken."""
        clip = self._clip
        return EditReport(clip.length, clip.keyframes, *self._psnr, dict(self._seconds), self._disk_bytes)

    def layers(self, advance: Advance = lambda _: None) -> Iterator[Layer]:
        """Decode the edit and compose it with the clip; memory does not grow with the clip.

        Args:
            advance: Told the number of frames of each layer after it was used.

        Yields:
            Layers of all frames in order, on the CPU.

        Raises:
            NotFiniteError: The autoencoder's images are not finite.
            ValueError: The frames or the regions are not as many as before.
        """
        layers = compose(self._decoded(), self._clip.settings.composition)
        for layer in self._timed(map(Layer.cpu, layers)):
            yield layer
            advance(len(layer.mask))

    def reconstructions(self, advance: Advance = lambda _: None) -> Iterator[Tensor]:
        """Decode what the frames become where nothing is edited, to the CPU: (n, 3, H, W) in [-1, 1].

        Args:
            advance: Told the number of frames of each part after it was used.
        """
        for images in self._timed(map(Tensor.cpu, self._decode(self._unedited, range(self._clip.length)))):
            yield images
            advance(len(images))

    def _decoded(self) -> Iterator[list[Decoded]]:
        """Yield what frames are composed of, on the model's device, where composing is fastest."""
        clip = self._clip
        composed = clip.settings.composition.mode != "off"
        regions = None if self._regions is None else self._regions.chunks(clip.settings.chunk_size)
        for start, images in clip.read(self._frames):
            numbers = range(start, start + len(images))
            edited = torch.cat(list(self._decode(clip.edited, numbers)))
            source = images.float().to(edited.device)
            kept = torch.cat(list(self._decode(clip.clean, numbers))) if composed else edited
            held = [None] * len(source) if regions is None else list(next(regions, ()))
            if len(held) != len(source):
                raise ValueError(
                    f"the regions break off after frame {start + len(held)}; they must come in the same "
                    "chunks as the frames"
                )
            parts = zip(source, kept, edited, held, strict=True)
            yield [
                Decoded(*each[:3], None if each[3] is None else each[3].to(source.device)) for each in parts
            ]

    def _decode(self, latents: Tensor, numbers: Sequence[int]) -> Iterator[Tensor]:
        clip = self._clip
        for _, images in clip.batches.results(numbers, lambda part: clip.decode(latents[list(part)])):
            yield images

    @torch.no_grad()
    def _timed(self, made: Iterator[Made]) -> Iterator[Made]:
        """Take time while things are made, not while they are used; name the stage in errors."""
        free_memory()
        while True:
            started = time.perf_counter()
            try:
                each = next(made, None)
            except NotFiniteError as error:
                raise NotFiniteError(f"decode: {error}") from error
            finally:
                taken = time.perf_counter() - started
                self._seconds["decode"] = self._seconds.get("decode", 0.0) + taken
            if each is None:
                return
            yield each
