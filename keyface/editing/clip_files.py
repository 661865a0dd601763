"""Which temporary files a clip needs, known before any of them is made."""

from dataclasses import dataclass

import torch

from keyface.diffusion.protocol import EditableModel, Network
from keyface.diffusion.solvers import looks_back
from keyface.editing.correspondence import Correspondences, descriptor_sizes
from keyface.editing.frames import FrameStream
from keyface.editing.keyframes import KeyframeChoice, select_keyframes
from keyface.editing.strategies.strategy import Strategy
from keyface.resume.memory_maps import Layout


@dataclass(frozen=True)
class ClipShape:
    """The sizes of a clip, and what its frames are for.

    Attributes:
        length: Number of frames T.
        keyframes: Frame numbers.
        others: All other frame numbers.
        sources: Frames whose inverted latents are kept at every level.
        pixels: (H, W).
        latent: (C, h, w).
        matched_levels: Levels of the inversion at which tokens are compared.
        descriptors: Length of the tokens' descriptors by number of tokens.
    """

    length: int
    keyframes: tuple[int, ...]
    others: tuple[int, ...]
    sources: tuple[int, ...]
    pixels: tuple[int, int]
    latent: tuple[int, int, int]
    matched_levels: tuple[int, ...]
    descriptors: dict[int, int]

    @classmethod
    def of(
        cls,
        backbone: EditableModel,
        inverter: Network,
        strategy: Strategy,
        frames: FrameStream,
        choice: KeyframeChoice | None = None,
    ) -> "ClipShape":
        """Choose keyframes, where they are not chosen, and find the sizes out; nothing of the clip is read.

        Raises:
            ValueError: The frames do not tile into whole tokens at every resolution.
        """
        length, settings = len(frames), strategy.settings
        if choice is None:
            keyframes = select_keyframes(length, settings.interval, settings.seed)
        else:
            keyframes = choice.keyframes
        chosen = set(keyframes)
        sources = strategy.source_frames(length, keyframes)
        levels = strategy.matched_levels if len(sources) < length else ()
        height, width = _latent_size(backbone, frames)
        return cls(
            length=length,
            keyframes=keyframes,
            others=tuple(f for f in range(length) if f not in chosen),
            sources=sources,
            pixels=(frames.height, frames.width),
            latent=(backbone.latent_channels, height, width),
            matched_levels=levels,
            descriptors=descriptor_sizes(backbone, inverter, (height, width), len(levels)) if levels else {},
        )


def clip_layout(shape: ClipShape, strategy: Strategy) -> Layout:
    """Return the files of a clip: the shape and the type of the tensor in each.

    `even-levels` and `odd-levels` hold what is being edited, at levels of that kind in turn: a step reads
    one and writes the other. Likewise the predicted clean latents of solvers that look back.
    """
    fp32, latent = torch.float32, shape.latent
    every = ((shape.length, *latent), fp32)
    start = strategy.settings.start_level
    files: Layout = {
        "clean": every,
        "reconstructed": every,
        "even-levels": every,
        "odd-levels": every,
        "inverted-sources": ((start + 1, len(shape.sources), *latent), fp32),
        "keyframes": ((len(shape.keyframes), 3, *shape.pixels), fp32),
    }
    if strategy.every_frame_from == 0:
        files = {**files, "edited": every}
    elif strategy.inverts_others and len(shape.sources) < shape.length:
        files = {**files, "inverted-others": ((len(shape.others), *latent), fp32)}
    if looks_back(strategy.settings.solver):
        files = {**files, "even-originals": every, "odd-originals": every}
    return {**files, **Correspondences.layout(shape.length, len(shape.keyframes), shape.descriptors)}


def _latent_size(backbone: EditableModel, frames: FrameStream) -> tuple[int, int]:
    cell, multiple = backbone.downscale, backbone.coarsest_cell
    if frames.height % multiple or frames.width % multiple:
        raise ValueError(
            f"frames are {frames.width} by {frames.height} pixels; this model needs multiples of "
            f"{multiple}, resize or crop them"
        )
    return frames.height // cell, frames.width // cell
