"""The gate before an edit: how much of the clip survives inversion and reconstruction at all."""

import math
from collections.abc import Sequence

from torch import Tensor

from keyface.diffusion.checks import require_finite
from keyface.diffusion.sampling import denoise
from keyface.editing.clip import Clip
from keyface.resume.batches import Advance


def reconstruct(clip: Clip, text: Tensor, every_frame: bool, advance: Advance) -> tuple[float, float]:
    """Denoise keyframes again with the source prompt, and measure what editing could at best keep.

    S forwards a keyframe; with `every_frame` the other frames as well, from `token_level`.

    Args:
        clip: inverted; gets `reconstructed`.
        text: source prompt (1, L, D).
        every_frame: not keyframes only.
        advance: told of each batch.

    Returns:
        Against the original keyframes, in dB: PSNR of the autoencoder alone, PSNR of inversion and
        reconstruction through the autoencoder.
    """
    settings, backbone = clip.settings, clip.backbone

    def run(part: Sequence[int], latents: Tensor, level: int) -> None:
        latents = latents.to(backbone.device)
        clean = denoise(
            clip.inverter, backbone.scheduler, latents, text, settings.steps, level, settings.solver
        )
        require_finite(clean, f"reconstructed latents of frames {part[0]} to {part[-1]}")
        clip.reconstructed[list(part)] = clean.cpu()

    def keyframes(part: Sequence[int]) -> None:
        run(part, clip.inverted(part, settings.start_level), settings.start_level)

    def others(part: Sequence[int]) -> None:
        run(part, clip.waiting[list(part)], settings.token_level)

    clip.batches.each(clip.keyframes, keyframes, advance, "reconstruct_keyframes")
    if every_frame:
        clip.batches.each(clip.others, others, advance, "reconstruct_others")
    vae, reconstruction = clip.batches.journal.numbers("errors") or _errors(clip)
    return _psnr(vae), _psnr(reconstruction)


def _errors(clip: Clip) -> list[float]:
    """Mean squared errors on keyframes: of the autoencoder, and of reconstruction."""
    sums = [0.0, 0.0]

    def measure(rows: Sequence[int]) -> None:
        images, frames = clip.keyframe_images[list(rows)], [clip.keyframes[row] for row in rows]
        decoded = [clip.decode(latents[frames]) for latents in (clip.clean, clip.reconstructed)]
        for index, each in enumerate(decoded):
            sums[index] += float((each - images).double().square().sum())

    clip.batches.each(range(len(clip.keyframes)), measure)
    errors = [error / clip.keyframe_images.numel() for error in sums]
    clip.batches.journal.write(errors=errors)
    return errors


def _psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]."""
    return 10.0 * math.log10(4.0 / mean_squared_error) if mean_squared_error > 0.0 else math.inf
