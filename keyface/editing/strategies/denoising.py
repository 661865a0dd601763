"""Denoising of keyframes with ε2, jointly and with ε1's attention (Eq. 2–3)."""

import logging
from collections.abc import Sequence

import torch

from keyface.diffusion.guidance import Guidance
from keyface.editing.attention import KeyframeState
from keyface.editing.clip import Clip
from keyface.editing.injection import identity_features, injecting
from keyface.editing.keyframes import StepOrder
from keyface.editing.propagation import Blend, KeyframeTokens
from keyface.editing.strategies.stepping import Stepper
from keyface.editing.strategies.strategy import Networks
from keyface.resume.batches import Advance, free_memory, ran_out_of_memory

_log = logging.getLogger(__name__)


class KeyframeDenoiser:
    """Denoises keyframes; strategies add what happens to the frames between them.

    Forwards, with S steps, K keyframes, T frames, b branches (2, or 1 at guidance scale 1), and r the last
    steps in which every frame runs (`Strategy.every_frame_from`): ε1 K · S · injection.until,
    ε2 b · (K · S + (T − K) · r). ε1 never runs on anything but keyframes here.

    The journal counts steps, and within a step windows, so that a killed run loses one window. A window that
    the device's memory does not hold is halved: from there on keyframes attend to fewer others, which is
    what a run with that `window` from the start does in these steps.

    Args:
        clip: Inverted and, for r = 0, reconstructed.
        networks: ε1, ε2 and their prompts.
    """

    def __init__(self, clip: Clip, networks: Networks) -> None:
        self.clip, self.identity, self.direction = clip, networks.identity, networks.direction
        self.guidance, self.source_text = networks.guidance, networks.source_text
        self.settings, self.journal = clip.settings, clip.batches.journal
        self.stepper = Stepper(clip)
        self.grid = self.stepper.grid
        group = self.settings.window if self.settings.joint_attention else clip.batches.size
        self.window = self.journal.count("window") or group
        self.order = self._order()

    @property
    def work(self) -> int:
        """Units that `run` reports: frames times steps of ε2."""
        clip, settings = self.clip, self.settings
        return len(clip.keyframes) * settings.start_level + len(clip.others) * clip.strategy.every_frame_from

    def run(self, advance: Advance) -> None:
        """Denoise from the start level to the clean latents of every frame."""
        start, every_frame_from = self.settings.start_level, self.clip.strategy.every_frame_from
        known = self.journal.count("steps")
        keyframes, others = len(self.clip.keyframes), len(self.clip.others)
        advance(known * keyframes + max(0, known - start + every_frame_from) * others)
        for step in range(known, start):
            level = start - step
            self._before_step(level)
            self._whole_step(step, level, with_others=level <= every_frame_from, advance=advance)
            self.journal.write(steps=step + 1, groups=0)
        self._after_steps()

    def _before_step(self, level: int) -> None:
        """Get the frames between keyframes ready for the step from `level`."""

    def _denoise_others(
        self,
        frames: Sequence[int],
        level: int,
        tokens: KeyframeTokens,
        guidance: Guidance,
        advance: Advance,
    ) -> None:
        """Take one step of frames between keyframes, whose keyframes have just taken theirs."""

    def _after_steps(self) -> None:
        """Finish the edit when all keyframes are clean."""

    def _order(self) -> StepOrder:
        """Order of work with at most `self.window` keyframes in a group besides the anchors."""
        return StepOrder.of(self.clip.windows(self.window), self.clip.others)

    def _whole_step(self, step: int, level: int, *, with_others: bool, advance: Advance) -> None:
        """Take one step, with smaller windows if need be: a step writes nothing that it reads."""
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
            self.order = self._order()
            self.journal.write(window=self.window, groups=0)
            _log.warning("out of memory: going on with windows of %d keyframes", self.window)

    def _step(self, step: int, level: int, *, with_others: bool, advance: Advance) -> None:
        """Take one step of all keyframes, group by group, and of the other frames as soon as they can.

        Groups that the journal knows are done run again only where later ones need what they remember.
        """
        windows, last_use = self.order.windows, self.order.last_use
        known, tokens = self.journal.count("groups"), KeyframeTokens()
        guidance = self.guidance if self.settings.guided(step) else self.guidance.unguided()
        state = KeyframeState(
            guidance.branches,
            self.settings.injection.mode,
            self.settings.joint_attention,
            self.settings.joint_stride,
            keep_outputs=with_others and bool(self.order.follows),
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
                advance(len(group) + len(self.order.ready[number]) * state.keep_outputs)
            else:
                advance(len(group))
                if state.keep_outputs:
                    self._denoise_others(self.order.ready[number], level, tokens, guidance, advance)
                self.clip.maps.release()
                self.journal.write(groups=number + 1)
            tokens.keep({k for k, last in last_use.items() if last > number})

    def _denoise_keyframes(
        self, group: Sequence[int], step: int, level: int, state: KeyframeState, guidance: Guidance
    ) -> None:
        """Take one step of a group of keyframes; ε1 runs first where its features are injected."""
        injection, steps = self.settings.injection, self.settings.start_level
        timestep, control = self.grid.timestep(level), self.clip.control(group)
        injected = identity_features(
            self.identity,
            self.clip.inverted(group, level),
            timestep,
            self.source_text,
            injection,
            step,
            steps,
            control,
        )
        latents = self.clip.at_level(level)[list(group)].to(self.clip.backbone.device)
        with injecting(self.direction, injected, injection, state):
            output = guidance.predict(self.direction, latents, timestep, control)
        self.stepper.step(group, latents, output, level, begun=steps)

    def _followed(self, frames: Sequence[int]) -> list[int]:
        pairs = (self.order.follows[f] for f in frames)
        return sorted({k for pair in pairs for k in (pair.before, pair.after)})

    def _blend(self, frames: Sequence[int], keyframes: Sequence[int]) -> Blend:
        follows = [self.order.follows[f] for f in frames]
        device = torch.device(self.clip.backbone.device)
        return Blend.of(frames, follows, keyframes, self.clip.correspondences, device)
