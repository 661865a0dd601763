"""`latent`: only keyframes are denoised; their edit is moved onto every frame's latent (Eq. 4)."""

from collections.abc import Sequence

from keyface.editing.clip import Clip
from keyface.editing.strategies.denoising import KeyframeDenoiser
from keyface.editing.strategies.strategy import Denoiser, Networks, Strategy


class LatentStrategy(Strategy):
    """Keyframes alone run through ε2."""

    @property
    def every_frame_from(self) -> int:
        """No level: the frames between keyframes never run through ε2."""
        return 0

    @property
    def needs_reconstruction(self) -> bool:
        """To cancel the errors of inversion and reconstruction."""
        return self.settings.propagation.cancel_inversion

    def denoiser(self, clip: Clip, networks: Networks) -> Denoiser:
        """Return what edits keyframes, and then moves their edit onto every frame."""
        return LatentDenoiser(clip, networks)


class LatentDenoiser(KeyframeDenoiser):
    """Denoises keyframes, and at the end moves their edit onto every frame."""

    def _after_steps(self) -> None:
        """Move the keyframes' edit, edited minus reconstructed latent, onto every frame's own VAE latent.

        The keyframes' share of inversion error cancels, in them as in the frames that follow them. Where that
        is not wanted, the clean latent stands for the reconstructed one.
        """
        clip, device = self.clip, self.clip.backbone.device
        denoised = clip.at_level(0)
        unedited = clip.reconstructed if clip.strategy.needs_reconstruction else clip.clean

        def others(part: Sequence[int]) -> None:
            used = self._followed(part)
            edits = (denoised[used] - unedited[used]).to(device)
            clip.edited[list(part)] = clip.clean[list(part)] + self._blend(part, used).latents(edits).cpu()

        def keyframes(part: Sequence[int]) -> None:
            frames = list(part)
            clip.edited[frames] = denoised[frames] + clip.clean[frames] - unedited[frames]

        clip.batches.each(clip.others, others)
        clip.batches.each(clip.keyframes, keyframes)
