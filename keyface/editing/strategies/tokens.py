"""`tokens`: every frame runs through ε2 with the keyframes' tokens in place of attention (Eq. 4)."""

import math
from collections.abc import Sequence

from torch import Tensor

from keyface.diffusion.guidance import Guidance
from keyface.editing.attention import processors
from keyface.editing.clip import Clip
from keyface.editing.parts import SELF_ATTENTION
from keyface.editing.propagation import KeyframeTokens, PropagatedAttention
from keyface.editing.strategies.denoising import KeyframeDenoiser
from keyface.editing.strategies.strategy import Denoiser, Networks, Strategy
from keyface.resume.batches import Advance


class TokenStrategy(Strategy):
    """Keyframes first; then every frame, in the steps that `keyframes_first` leaves."""

    @property
    def every_frame_from(self) -> int:
        """Level that is left after the steps of keyframes alone, at least 1."""
        start = self.settings.start_level
        return max(1, start - round(self.settings.propagation.keyframes_first * start))

    def denoiser(self, clip: Clip, networks: Networks) -> Denoiser:
        """Return what edits keyframes and the frames between them."""
        return TokenDenoiser(clip, networks)


class TokenDenoiser(KeyframeDenoiser):
    """Denoises keyframes, and the frames between them as soon as their keyframes are done."""

    def _before_step(self, level: int) -> None:
        """Put the keyframes' edit so far, edited minus inverted latent, onto the other frames' latents.

        Frames that are not inverted have at this level the share of their clean latent, and get the noise of
        the keyframes that they follow along with the edit.
        """
        if level != self.clip.strategy.every_frame_from:
            return

        clip, signal = self.clip, math.sqrt(self.grid.alphas[level])

        def unedited(frames: Sequence[int]) -> Tensor:
            if clip.strategy.inverts_others:
                return clip.inverted(frames, level)
            clean = clip.clean[list(frames)].to(clip.backbone.device)
            return signal * clean

        def work(part: Sequence[int]) -> None:
            used = self._followed(part)
            edits = clip.at_level(level)[used].to(clip.backbone.device) - unedited(used)
            clip.at_level(level)[list(part)] = (unedited(part) + self._blend(part, used).latents(edits)).cpu()

        self.clip.batches.each(self.clip.others, work, name="begin_others")

    def _denoise_others(
        self,
        frames: Sequence[int],
        level: int,
        tokens: KeyframeTokens,
        guidance: Guidance,
        advance: Advance,
    ) -> None:
        """Take one step of other frames: ε2 with attn1 replaced by the keyframes' tokens (Eq. 4)."""

        def work(part: Sequence[int]) -> None:
            blend = self._blend(part, tokens.keyframes)
            latents = self.clip.at_level(level)[list(part)].to(self.clip.backbone.device)
            with processors(
                self.direction, SELF_ATTENTION, lambda name: PropagatedAttention(name, tokens, blend)
            ):
                output = guidance.predict(
                    self.direction, latents, self.grid.timestep(level), self.clip.control(part)
                )
            self.stepper.step(part, latents, output, level, begun=self.clip.strategy.every_frame_from)

        self.clip.batches.each(frames, work, advance)
