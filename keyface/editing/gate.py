"""The gate before an edit: how much of the clip survives inversion and reconstruction at all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from keyface.diffusion.checks import require_finite
from keyface.diffusion.sampling import denoise
from keyface.editing.clip import Clip
from keyface.metrics.psnr import psnr_of_error
from keyface.pictures import spread
from keyface.resume.batches import Advance

KEYFRAMES = 8
"""Keyframes that the gate looks at, where the edit itself needs none of them reconstructed."""


def reconstruct(clip: Clip, text: Tensor, every_frame: bool, advance: Advance) -> tuple[float, float]:
    """Denoise keyframes again with the source prompt, and measure what editing could at best keep.

    S forwards a keyframe, for `KEYFRAMES` of them, or for all where the edit needs that
    (`Strategy.needs_reconstruction`); with `every_frame` the other frames as well, from
    `Strategy.every_frame_from`.

    Args:
        clip: Inverted; gets `reconstructed`.
        text: Source prompt (1, L, D).
        every_frame: Whether not keyframes alone.
        advance: Told of each batch.

    Returns:
        Against the original of these keyframes, in dB: PSNR of the autoencoder alone, PSNR of inversion and
        reconstruction through the autoencoder.
    """
    settings, backbone = clip.settings, clip.backbone

    def run(part: Sequence[int], latents: Tensor, level: int) -> None:
        clean = denoise(
            clip.inverter,
            backbone.grid(settings.steps),
            latents,
            text,
            settings.steps,
            level,
            settings.solver,
            clip.control(part),
        )
        require_finite(clean, f"reconstructed latents of frames {part[0]} to {part[-1]}")
        clip.reconstructed[list(part)] = clean.cpu()

    def keyframes(part: Sequence[int]) -> None:
        run(part, clip.inverted(part, settings.start_level), settings.start_level)

    def others(part: Sequence[int]) -> None:
        level = clip.strategy.every_frame_from
        run(part, clip.inverted(part, level), level)

    clip.batches.each(gate_keyframes(clip, every_frame), keyframes, advance, "reconstruct_keyframes")
    if every_frame:
        clip.batches.each(clip.others, others, advance, "reconstruct_others")
    vae, reconstruction = clip.batches.journal.numbers("errors") or _errors(clip, every_frame)
    errors = torch.tensor([vae, reconstruction], dtype=torch.float64)
    vae_psnr, reconstruction_psnr = psnr_of_error(errors).tolist()
    return vae_psnr, reconstruction_psnr


def gate_keyframes(clip: Clip, every_frame: bool) -> tuple[int, ...]:
    """Return the keyframes that are reconstructed and measured, spread over the clip."""
    if every_frame or clip.strategy.needs_reconstruction:
        return clip.keyframes
    return tuple(clip.keyframes[row] for row in spread(len(clip.keyframes), KEYFRAMES))


def _errors(clip: Clip, every_frame: bool) -> list[float]:
    """Return mean squared errors on keyframes: of the autoencoder, and of reconstruction."""
    sums, measured = [0.0, 0.0], set(gate_keyframes(clip, every_frame))
    looked = [row for row, frame in enumerate(clip.keyframes) if frame in measured]

    def measure(rows: Sequence[int]) -> None:
        images, frames = clip.keyframe_images[list(rows)], [clip.keyframes[row] for row in rows]
        decoded = [clip.decode(latents[frames]).cpu() for latents in (clip.clean, clip.reconstructed)]
        for index, each in enumerate(decoded):
            sums[index] += float((each - images).double().square().sum())

    for _ in clip.batches.results(looked, measure):  # not `each`, which may repeat a row
        pass
    errors = [error / (len(looked) * clip.keyframe_images[0].numel()) for error in sums]
    clip.batches.journal.write(errors=errors)
    return errors
