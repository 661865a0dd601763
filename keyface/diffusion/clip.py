"""A clip as latents: encoded, inverted, matched to its keyframes, reconstructed for the gate."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.attention import processors
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.batches import Batches
from keyface.diffusion.correspondence import MATCHED_LAYERS, Correspondences, TokenRecorder
from keyface.diffusion.frames import FrameStream
from keyface.diffusion.inversion import denoise, invert
from keyface.diffusion.keyframes import Neighbours, neighbours, select_keyframes
from keyface.diffusion.scratch import Scratch
from keyface.diffusion.settings import EditSettings

Advance = Callable[[int], None]
"""Told how many units of a stage have just been done."""


class Clip:
    """Latents of a clip in memory-mapped files, and what fills them.

    Attributes:
        length: number of frames T.
        keyframes: frame numbers.
        others: all other frame numbers.
        sources: frames that may serve as keyframes: the keyframes, or all if they change at each step.
        clean: VAE latents (T, C, h, w).
        trajectory: (S + 1, number of sources, C, h, w), inverted latents by level, up to the start level S.
        current: (T, C, h, w), what is being edited: `sources` at level S, others at the settings'
            `token_level`, if that is not 0.
        reconstructed: (T, C, h, w), inverted and denoised again, where that was asked for.
        correspondences: of every frame with the keyframes it follows.
    """

    def __init__(self, backbone: Backbone, inverter: UNet2DConditionModel, settings: EditSettings) -> None:
        self.backbone, self.inverter, self.settings = backbone, inverter, settings
        self.batches = Batches(settings.chunk_size)

    def allocate(self, frames: FrameStream, scratch: Scratch) -> None:
        """Choose keyframes and make the files; `frames` must tile into whole tokens at every resolution."""
        cell = self.backbone.downscale
        multiple = cell * 2 ** (len(self.inverter.config.block_out_channels) - 1)
        if frames.height % multiple or frames.width % multiple:
            raise ValueError(
                f"frames are {frames.width} by {frames.height} pixels; this model needs multiples of "
                f"{multiple}, resize or crop them"
            )
        settings, self.length = self.settings, len(frames)
        self.keyframes = select_keyframes(self.length, settings.interval, settings.seed)
        chosen = set(self.keyframes)
        self.others = tuple(f for f in range(self.length) if f not in chosen)
        random = settings.propagation.random_keyframes
        self.sources = tuple(range(self.length)) if random else self.keyframes
        self._source_row = {frame: row for row, frame in enumerate(self.sources)}
        size = (frames.height // cell, frames.width // cell)
        latent = (self.backbone.latent_channels, *size)
        self.clean = scratch.tensor("clean", (self.length, *latent))
        self.current = scratch.tensor("current", (self.length, *latent))
        self.reconstructed = scratch.tensor("reconstructed", (self.length, *latent))
        self.trajectory = scratch.tensor("trajectory", (settings.start_level + 1, len(self.sources), *latent))
        images = (len(self.keyframes), 3, frames.height, frames.width)
        self._keyframe_images = scratch.tensor("keyframes", images)
        self.correspondences = Correspondences(scratch, self.length, size, settings.propagation.locality)

    def encode(self, frames: FrameStream, advance: Advance) -> None:
        """Encode every frame: T encoder forwards."""
        row = {frame: i for i, frame in enumerate(self.keyframes)}
        start = 0
        for images in frames.chunks(self.settings.chunk_size):
            if start + len(images) > self.length:
                raise ValueError(f"the clip gave more than the {self.length} frames that it promised")
            first = start

            def work(part: Sequence[int], images: Tensor = images, first: int = first) -> None:
                part_images = images[part[0] - first : part[-1] + 1 - first]
                self.clean[part[0] : part[-1] + 1] = self.backbone.encode_images(part_images).cpu()

            self.batches.each(range(start, start + len(images)), work)
            for frame in range(start, start + len(images)):
                if frame in row:
                    self._keyframe_images[row[frame]] = images[frame - start].float().cpu()
            start += len(images)
            advance(len(images))
        if start != self.length:
            raise ValueError(f"the clip gave {start} frames instead of the {self.length} that it promised")

    def invert(self, text: Tensor, advance: Advance) -> None:
        """Invert with the source prompt, and match tokens.

        With k fixed-point iterations and start level S, the sources take k · S + 3 forwards each. The other
        frames are inverted only as far as they are needed, to the last level of matching or `token_level`.
        """
        settings = self.settings
        levels = settings.propagation.levels(settings.steps, settings.start_level) if self.others else ()
        depth = max((*levels, settings.token_level)) if self.others else 0
        recorder = TokenRecorder(levels)
        matching = processors(self.inverter, MATCHED_LAYERS, recorder.make) if levels else nullcontext()

        def run(part: Sequence[int], until: int) -> Tensor:
            latents = self.clean[list(part)].to(self.backbone.device)
            return invert(
                self.inverter,
                self.backbone.scheduler,
                latents,
                text,
                settings.steps,
                settings.fixed_point_iterations,
                until=until,
                before_level=recorder.before_level,
            )

        def sources(part: Sequence[int]) -> None:
            trajectory = run(part, settings.start_level)
            self.trajectory[:, [self._source_row[f] for f in part]] = trajectory.cpu()
            self.current[list(part)] = trajectory[-1].cpu()
            self.correspondences.put_descriptors(part, recorder.descriptors())
            advance(len(part))

        def others(part: Sequence[int]) -> None:
            trajectory = run(part, depth)
            self.current[list(part)] = trajectory[settings.token_level].cpu()
            pairs = [(n.before, n.after) for n in (self.follows(f, self.keyframes) for f in part)]
            fields = self.correspondences.match(part, pairs, recorder.descriptors())
            self.correspondences.put_fields(part, fields)
            advance(len(part))

        with matching:
            self.batches.each(self.sources, sources)
            if len(self.sources) < self.length:
                self.batches.each(self.others, others)

    def reconstruct(self, text: Tensor, every_frame: bool, advance: Advance) -> tuple[float, float]:
        """Denoise keyframes again with the source prompt, and measure what editing could at best keep.

        S forwards a keyframe; with `every_frame` the other frames as well, from `token_level`.

        Returns:
            Against the original keyframes, in dB: PSNR of the autoencoder alone, PSNR of inversion and
            reconstruction through the autoencoder.
        """
        settings, backbone = self.settings, self.backbone

        def run(part: Sequence[int], level: int) -> None:
            latents = self.current[list(part)].to(backbone.device)
            clean = denoise(self.inverter, backbone.scheduler, latents, text, settings.steps, level)
            self.reconstructed[list(part)] = clean.cpu()
            advance(len(part))

        self.batches.each(self.keyframes, lambda part: run(part, settings.start_level))
        if every_frame:
            self.batches.each(self.others, lambda part: run(part, settings.token_level))
        errors = {"vae": 0.0, "reconstruction": 0.0}

        def measure(rows: Sequence[int]) -> None:
            images = self._keyframe_images[list(rows)]
            frames = [self.keyframes[row] for row in rows]
            for name, latents in (("vae", self.clean), ("reconstruction", self.reconstructed)):
                decoded = self.decode(latents[frames])
                errors[name] += float((decoded - images).double().square().sum())

        self.batches.each(range(len(self.keyframes)), measure)
        pixels = self._keyframe_images.numel()
        return _psnr(errors["vae"] / pixels), _psnr(errors["reconstruction"] / pixels)

    def inverted(self, frames: Sequence[int], level: int) -> Tensor:
        """Inverted latents (F, C, h, w) of source frames at a level, on the device."""
        rows = [self._source_row[frame] for frame in frames]
        return self.trajectory[level, rows].to(self.backbone.device)

    def follows(self, frame: int, keyframes: Sequence[int]) -> Neighbours:
        """The keyframes that a frame follows, by the settings."""
        propagation = self.settings.propagation
        return neighbours(
            frame,
            keyframes,
            weights=propagation.weights,
            which=propagation.neighbours,
            interval=self.settings.interval,
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (F, 3, H, W), clamped to [-1, 1], on the CPU."""
        return self.backbone.decode_latents(latents.to(self.backbone.device)).clamp(-1.0, 1.0).cpu()


def _psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]."""
    return 10.0 * math.log10(4.0 / mean_squared_error) if mean_squared_error > 0.0 else math.inf
