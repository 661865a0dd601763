"""Denoising with ε2: keyframes jointly with ε1's attention, then every frame after them."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.guidance import Guidance
from keyface.diffusion.prediction import predict
from keyface.editing.attention import (
    Features,
    KeyframeAttention,
    KeyframeState,
    RecordFeatures,
    processors,
    recorded_outputs,
    replaced_outputs,
)
from keyface.editing.clip import Clip
from keyface.editing.plan import Plan
from keyface.editing.propagation import Blend, KeyframeTokens, PropagatedAttention
from keyface.editing.settings import SELF_ATTENTION
from keyface.editing.stepping import Stepper
from keyface.resume.batches import Advance, free_memory, ran_out_of_memory

_log = logging.getLogger(__name__)


class Denoiser:
    """Turns the inverted latents of a clip into edited ones, `clip.edited`.

    Forwards, with S steps, K keyframes, T frames, b branches (2, or 1 at guidance scale 1), and r the last
    steps in which every frame runs (`token_level`): ε1 K · S · injection.until,
    ε2 b · (K · S + (T − K) · r). ε1 never runs on anything but keyframes here.

    The journal counts steps, and within a step windows, so that a killed run loses one window. A window that
    the device's memory does not hold is halved: from there on keyframes attend to fewer others, which is
    what a run with that `window` from the start does in these steps.

    Args:
        clip: inverted and, for r = 0, reconstructed.
        identity: ε1.
        direction: ε2.
        guidance: named branches.
        source: source prompt (1, L, D), for ε1.
    """

    def __init__(
        self,
        clip: Clip,
        identity: UNet2DConditionModel,
        direction: UNet2DConditionModel,
        guidance: Guidance,
        source: Tensor,
    ) -> None:
        self.clip, self.identity, self.direction = clip, identity, direction
        self.guidance, self.source = guidance, source
        self.settings, self.journal = clip.settings, clip.batches.journal
        self.stepper = Stepper(clip)
        self.grid = self.stepper.grid
        group = self.settings.window if self.settings.joint_attention else clip.batches.size
        self.window = self.journal.count("window") or group
        self.plan = Plan.of(clip, self.window)

    @property
    def work(self) -> int:
        """Units that `run` reports: frame-steps of ε2."""
        clip, settings = self.clip, self.settings
        return len(clip.keyframes) * settings.start_level + len(clip.others) * settings.token_level

    def run(self, advance: Advance) -> None:
        """Denoise from the start level to the clean latents of every frame."""
        start, tokens_from = self.settings.start_level, self.settings.token_level
        known = self.journal.count("steps")
        keyframes, others = len(self.clip.keyframes), len(self.clip.others)
        advance(known * keyframes + max(0, known - start + tokens_from) * others)
        for step in range(known, start):
            level = start - step
            if level == tokens_from and level < start:
                self._begin_others(level)
            self._whole_step(step, level, with_others=level <= tokens_from, advance=advance)
            self.journal.write(steps=step + 1, groups=0)
        if tokens_from == 0:
            self._move_edit_to_every_frame()

    def _whole_step(self, step: int, level: int, *, with_others: bool, advance: Advance) -> None:
        """One step, with smaller windows if need be: it writes nothing that it reads, and can be repeated."""
        while True:
            done = 0

            def count(units: int) -> None:
                nonlocal done
                done += units
                advance(units)

            try:
                self._step(step, level, with_others=with_others, advance=count)
            except (RuntimeError, MemoryError) as error:
                if self.window == 1 or not ran_out_of_memory(error):
                    raise
            else:
                return
            free_memory()  # outside `except`, where the failed step's tensors are still referenced
            advance(-done)
            self.window = max(1, self.window // 2)
            self.plan = Plan.of(self.clip, self.window)
            self.journal.write(window=self.window, groups=0)
            _log.warning("out of memory: going on with windows of %d keyframes", self.window)

    def _step(self, step: int, level: int, *, with_others: bool, advance: Advance) -> None:
        """One step of all keyframes, group by group, and of the other frames as soon as they can.

        Groups that the journal knows are done run again only where later ones need what they remember.
        """
        windows, last_use = self.plan.windows, self.plan.last_use
        known, tokens = self.journal.count("groups"), KeyframeTokens()
        guidance = self.guidance if self.settings.guided(step) else self.guidance.unguided()
        state = KeyframeState(
            guidance.branches,
            self.settings.injection.mode,
            self.settings.joint_attention,
            keep_outputs=with_others and bool(self.plan.follows),
        )
        for number, group in enumerate(windows.groups):
            done = number < known
            remembered = (number == 0 and windows.anchors > 0) or (
                state.keep_outputs and any(last_use.get(k, -1) >= known for k in group)
            )
            if not done or remembered:
                state.anchors_in_batch = windows.anchors if number == 0 else 0
                self._denoise_keyframes(group, step, level, state, guidance)
                if state.keep_outputs:
                    tokens.add(group, state.outputs)
                    state.outputs = {}
            if done:
                advance(len(group) + len(self.plan.ready[number]) * state.keep_outputs)
            else:
                advance(len(group))
                if state.keep_outputs:
                    self._denoise_others(self.plan.ready[number], level, tokens, guidance, advance)
                self.clip.scratch.release()
                self.journal.write(groups=number + 1)
            tokens.keep({k for k, last in last_use.items() if last > number})

    def _denoise_keyframes(
        self, group: Sequence[int], step: int, level: int, state: KeyframeState, guidance: Guidance
    ) -> None:
        """One step of a group of keyframes; ε1 runs first where its features are injected."""
        injection, steps = self.settings.injection, self.settings.start_level
        residuals: dict[str, Tensor] = {}
        state.source = self._identity_features(group, step, level, residuals)
        latents = self.clip.current(level)[list(group)].to(self.clip.backbone.device)
        with ExitStack() as stack:
            stack.enter_context(
                processors(self.direction, SELF_ATTENTION, lambda name: KeyframeAttention(name, state))
            )
            if injection.residual_active(step, steps):
                stack.enter_context(replaced_outputs(self.direction, injection.residual_layers, residuals))
            output = guidance.predict(self.direction, latents, self.grid.timestep(level))
        self.stepper.step(group, latents, output, level, begun=steps)

    def _identity_features(
        self, group: Sequence[int], step: int, level: int, residuals: dict[str, Tensor]
    ) -> dict[str, Features]:
        """ε1's attn1 features on the inverted latents of the group; fills `residuals` where wanted."""
        injection, steps = self.settings.injection, self.settings.start_level
        features: dict[str, Features] = {}
        attention = injection.attention_active(step, steps)
        residual = injection.residual_active(step, steps)
        if not (attention or residual):
            return features
        identity = self.identity
        with ExitStack() as stack:
            if attention:
                stack.enter_context(
                    processors(
                        identity,
                        injection.layers,
                        lambda name: RecordFeatures(name, injection.mode, features),
                    )
                )
            if residual:
                stack.enter_context(recorded_outputs(identity, injection.residual_layers, residuals))
            predict(identity, self.clip.inverted(group, level), self.grid.timestep(level), self.source)
        return features

    def _denoise_others(
        self,
        frames: Sequence[int],
        level: int,
        tokens: KeyframeTokens,
        guidance: Guidance,
        advance: Advance,
    ) -> None:
        """One step of other frames: ε2 with attn1 replaced by the keyframes' tokens (Eq. 4)."""

        def work(part: Sequence[int]) -> None:
            blend = self._blend(part, tokens.keyframes)
            latents = self.clip.current(level)[list(part)].to(self.clip.backbone.device)
            with processors(
                self.direction, SELF_ATTENTION, lambda name: PropagatedAttention(name, tokens, blend)
            ):
                output = guidance.predict(self.direction, latents, self.grid.timestep(level))
            self.stepper.step(part, latents, output, level, begun=self.settings.token_level)

        self.clip.batches.each(frames, work, advance)

    def _begin_others(self, level: int) -> None:
        """Put the keyframes' edit so far, edited minus inverted latent, onto the other frames' latents."""

        def work(part: Sequence[int]) -> None:
            used = self._followed(part)
            device = self.clip.backbone.device
            edits = self.clip.current(level)[used].to(device) - self.clip.inverted(used, level)
            begun = self.clip.waiting[list(part)] + self._blend(part, used).latents(edits).cpu()
            self.clip.current(level)[list(part)] = begun

        # Named, since the step that follows writes where these frames were waiting.
        self.clip.batches.each(self.clip.others, work, name="begin_others")

    def _move_edit_to_every_frame(self) -> None:
        """Edited minus reconstructed latent of the keyframes, moved onto every frame's own VAE latent.

        The keyframes' share of inversion error cancels, in them as in the frames that follow them.
        """
        clip, device = self.clip, self.clip.backbone.device

        def others(part: Sequence[int]) -> None:
            used = self._followed(part)
            edits = (clip.current(0)[used] - clip.reconstructed[used]).to(device)
            clip.edited[list(part)] = clip.clean[list(part)] + self._blend(part, used).latents(edits).cpu()

        def keyframes(part: Sequence[int]) -> None:
            frames = list(part)
            clip.edited[frames] = clip.current(0)[frames] + clip.clean[frames] - clip.reconstructed[frames]

        clip.batches.each(clip.others, others)
        clip.batches.each(clip.keyframes, keyframes)

    def _followed(self, frames: Sequence[int]) -> list[int]:
        pairs = (self.plan.follows[f] for f in frames)
        return sorted({k for pair in pairs for k in (pair.before, pair.after)})

    def _blend(self, frames: Sequence[int], keyframes: Sequence[int]) -> Blend:
        follows = [self.plan.follows[f] for f in frames]
        device = torch.device(self.clip.backbone.device)
        return Blend.of(frames, follows, keyframes, self.clip.correspondences, device)
