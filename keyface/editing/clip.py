"""A clip as latents: encoded, inverted, matched to its keyframes."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.checks import require_finite
from keyface.diffusion.inversion import invert
from keyface.editing.attention import processors
from keyface.editing.correspondence import (
    MATCHED_LAYERS,
    Correspondences,
    TokenRecorder,
    descriptor_sizes,
)
from keyface.editing.frames import FrameStream
from keyface.editing.keyframes import neighbours, select_keyframes
from keyface.editing.settings import EditSettings
from keyface.resume.batches import Advance, Batches
from keyface.resume.journal import Journal
from keyface.resume.memory_maps import Layout, MemoryMaps, layout_bytes


class Clip:
    """Latents of a clip in memory-mapped files, and what fills them.

    Nothing is made before `open`.

    Attributes:
        length: number of frames T.
        keyframes: frame numbers.
        others: all other frame numbers.
        sources: frames that may serve as keyframes: the keyframes, or all with `tokenflow`, which draws new
            ones at each step.
        clean: VAE latents (T, C, h, w).
        trajectory: (S + 1, number of sources, C, h, w), inverted latents by level, up to the start level S.
        reconstructed: (T, C, h, w), inverted and denoised again (`keyface.editing.gate`).
        keyframe_images: (K, 3, H, W), the original keyframes.
        correspondences: of every frame with the keyframes it follows.
        batches: in which frames are worked on.
        disk_bytes: what the files take.
    """

    def __init__(
        self,
        backbone: Backbone,
        inverter: UNet2DConditionModel,
        settings: EditSettings,
        frames: FrameStream,
    ) -> None:
        """Choose keyframes, and find out what will be needed.

        Raises:
            ValueError: Frames do not tile into whole tokens at every resolution.
        """
        self.backbone, self.inverter, self.settings = backbone, inverter, settings
        self.length = len(frames)
        self.keyframes = select_keyframes(self.length, settings.interval, settings.seed)
        chosen = set(self.keyframes)
        self.others = tuple(f for f in range(self.length) if f not in chosen)
        every = settings.propagation.mode == "tokenflow"
        self.sources = tuple(range(self.length)) if every else self.keyframes
        self._source_row = {frame: row for row, frame in enumerate(self.sources)}
        matched = bool(self.others) and not every
        self._levels = settings.propagation.levels(settings.steps, settings.start_level) if matched else ()
        self._size = self._latent_size(frames)
        self._layout = self._files((frames.height, frames.width), self._size)
        self.disk_bytes = layout_bytes(self._layout)

    def open(self, scratch: MemoryMaps, journal: Journal | None = None) -> None:
        """Make the files, or take those that an earlier process left together with its journal.

        Raises:
            ValueError: The disk is too small.
        """
        self.scratch = scratch
        self.batches = Batches(self.settings.chunk_size, journal, after=scratch.release)
        files = scratch.allocate(self._layout)
        self.clean, self.reconstructed = files["clean"], files["reconstructed"]
        self.trajectory, self._slots = files["trajectory"], files["current"]
        self.keyframe_images = files["keyframes"]
        self._originals = files.get("originals")
        locality = self.settings.propagation.locality
        self.correspondences = Correspondences(self.keyframes, self._size, locality, files)

    def _latent_size(self, frames: FrameStream) -> tuple[int, int]:
        cell = self.backbone.downscale
        multiple = cell * 2 ** (len(self.inverter.config.block_out_channels) - 1)
        if frames.height % multiple or frames.width % multiple:
            raise ValueError(
                f"frames are {frames.width} by {frames.height} pixels; this model needs multiples of "
                f"{multiple}, resize or crop them"
            )
        return frames.height // cell, frames.width // cell

    def _files(self, pixels: tuple[int, int], size: tuple[int, int]) -> Layout:
        latent, count = (self.backbone.latent_channels, *size), len(self.keyframes)
        fp32 = torch.float32
        files: Layout = {
            "clean": ((self.length, *latent), fp32),
            "current": ((2, self.length, *latent), fp32),
            "reconstructed": ((self.length, *latent), fp32),
            "trajectory": ((self.settings.start_level + 1, len(self.sources), *latent), fp32),
            "keyframes": ((count, 3, *pixels), fp32),
        }
        sizes = descriptor_sizes(self.inverter, size, len(self._levels)) if self._levels else {}
        if self.settings.solver == "dpmpp_2m":
            files = {**files, "originals": ((2, self.length, *latent), fp32)}
        return {**files, **Correspondences.layout(self.length, count, sizes)}

    def current(self, level: int) -> Tensor:
        """(T, C, h, w), what is being edited, at a level.

        Neighbouring levels lie in different files, so that a step that was cut short can be done again.
        `current(start level)` holds the sources after inversion; `current(0)` the edited clip, but for
        `latent`, where it is `current(-1)`.
        """
        return self._slots[level % 2]

    def originals(self, level: int) -> Tensor:
        """(T, C, h, w), the clean latents as predicted at a level; kept for solvers that look back."""
        assert self._originals is not None
        return self._originals[level % 2]

    @property
    def edited(self) -> Tensor:
        """(T, C, h, w), the edited latents, once they are."""
        return self.current(0 if self.settings.token_level > 0 else -1)

    @property
    def waiting(self) -> Tensor:
        """(T, C, h, w): the frames between keyframes, inverted to `token_level`, before the edit."""
        level = self.settings.token_level
        return self.current(level if level == self.settings.start_level else level - 1)

    def encode(self, frames: FrameStream, advance: Advance) -> None:
        """Encode every frame: T encoder forwards."""
        row = {frame: i for i, frame in enumerate(self.keyframes)}
        start, known = 0, self.batches.journal.count("encode")
        for images in frames.chunks(self.settings.chunk_size):
            if start + len(images) <= known:
                start += len(images)
                advance(len(images))
                continue
            if start + len(images) > self.length:
                raise ValueError(f"the clip gave more than the {self.length} frames that it promised")
            first = start

            def work(part: Sequence[int], images: Tensor = images, first: int = first) -> None:
                part_images = images[part[0] - first : part[-1] + 1 - first]
                latents = self.backbone.encode_images(part_images)
                require_finite(latents, f"the autoencoder's latents of frames {part[0]} to {part[-1]}")
                self.clean[part[0] : part[-1] + 1] = latents.cpu()

            self.batches.each(range(start, start + len(images)), work)
            for frame in range(start, start + len(images)):
                if frame in row:
                    self.keyframe_images[row[frame]] = images[frame - start].float().cpu()
            start += len(images)
            self.scratch.release()
            self.batches.journal.write(encode=start)
            advance(len(images))
        if start != self.length:
            raise ValueError(f"the clip gave {start} frames instead of the {self.length} that it promised")

    def invert(self, text: Tensor, advance: Advance) -> None:
        """Invert with the source prompt, and match tokens.

        With k fixed-point iterations and start level S, the sources take k · S + 3 forwards each. The other
        frames are inverted only as far as they are needed, to the last level of matching or `token_level`.
        Where their latents are not needed at all (token_level 0) tokens are compared in a pass of its own,
        which visits the levels of matching alone, one forward each, in keyframes as in the frames that
        follow them: frames that are alike have tokens that are alike.
        """
        settings, levels = self.settings, self._levels
        exactly = settings.token_level > 0
        recorder = TokenRecorder(levels)
        matching = processors(self.inverter, MATCHED_LAYERS, recorder.make) if levels else nullcontext()

        def run(part: Sequence[int], until: int | None = None) -> Tensor:
            """Exactly to a level or, where none is named, plainly through those of matching alone."""
            latents = self.clean[list(part)].to(self.backbone.device)
            trajectory = invert(
                self.inverter,
                self.backbone.scheduler,
                latents,
                text,
                settings.steps,
                settings.fixed_point_iterations if until is not None else 0,
                until=until,
                levels=levels if until is None else None,
                before_level=recorder.before_level,
            )
            require_finite(trajectory, f"inverted latents of frames {part[0]} to {part[-1]}")
            return trajectory

        def sources(part: Sequence[int]) -> None:
            trajectory = run(part, settings.start_level)
            self.trajectory[:, [self._source_row[f] for f in part]] = trajectory.cpu()
            self.current(settings.start_level)[list(part)] = trajectory[-1].cpu()
            if levels and not exactly:
                run(part)
            self.correspondences.put_descriptors(part, recorder.descriptors())

        def others(part: Sequence[int]) -> None:
            if exactly:
                trajectory = run(part, max(*levels, settings.token_level))
                self.waiting[list(part)] = trajectory[settings.token_level].cpu()
            else:
                run(part)
            pairs = [(n.before, n.after) for n in (neighbours(f, self.keyframes) for f in part)]
            self.correspondences.put_fields(part, self.correspondences.match(pairs, recorder.descriptors()))

        with matching:
            self.batches.each(self.sources, sources, advance, "invert_sources")
            if len(self.sources) < self.length:
                self.batches.each(self.others, others, advance, "invert_others")

    def inverted(self, frames: Sequence[int], level: int) -> Tensor:
        """Inverted latents (F, C, h, w) of source frames at a level, on the device."""
        rows = [self._source_row[frame] for frame in frames]
        return self.trajectory[level, rows].to(self.backbone.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (F, 3, H, W), clamped to [-1, 1], on the CPU.

        Raises:
            NotFiniteError: the autoencoder's images are not finite.
        """
        images = self.backbone.decode_latents(latents.to(self.backbone.device))
        require_finite(images, "the autoencoder's images")
        return images.clamp(-1.0, 1.0).cpu()
