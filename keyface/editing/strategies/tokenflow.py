"""TokenFlow with Plug-and-Play, step by step as its published code: a peer in the same program.

Geyer, Bar-Tal, Bagon and Dekel, "TokenFlow: Consistent Diffusion Features for Consistent Video Editing",
ICLR 2024; `tokenflow_utils.py` and `run_tokenflow_pnp.py` of its repository. At each step:

1. one keyframe is drawn at random from each interval;
2. the keyframes run through the U-Net in three branches, source (the inverted latents), negative and
   target. The source branch attends frame by frame, the others to all keyframes; in the first half of the
   steps they take the source's queries and keys in the decoder, and for the first 0.8 of the steps one
   ResNet block's residual;
3. every frame, keyframes included, runs in the same three branches with attn1 replaced: each token takes
   the attn1 output of the most similar source token of its interval's keyframe and of the one before,
   blended by the sigmoid of their distances.

Its speed is its own too: all keyframes at once, three branches, comparisons anew in each layer and step.
Only the inversion is ours, with as many steps as the edit; TokenFlow's takes 500.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.diffusion.prediction import predict
from keyface.editing.attention import attend, finish, processors, self_attention, shared_outputs
from keyface.editing.clip import Clip
from keyface.editing.keyframes import select_keyframes
from keyface.editing.parts import SELF_ATTENTION
from keyface.editing.strategies.stepping import Stepper
from keyface.editing.strategies.strategy import Denoiser, Networks, Strategy
from keyface.resume.batches import Advance

BRANCHES = ("source", "negative", "target")
"""Branches of every batch, outermost: (branch, frame) → batch. All but the source are edited."""

_EDITED = len(BRANCHES) - 1


def of_source(tokens: Tensor) -> Tensor:
    """Return the source branch (F, …) of all branches (branches, F, …)."""
    return tokens[BRANCHES.index("source")]


def of_edited(tokens: Tensor) -> Tensor:
    """Return the edited branches (branches − 1, F, …) of all branches (branches, F, …)."""
    return tokens[-_EDITED:]


@dataclass
class Pivots:
    """What the keyframes' pass leaves for the pass of every frame, by layer.

    Attributes:
        tokens: The source branch's inputs of attn1 (K, S, C).
        outputs: Of attn1 (branches, K, S, C).
    """

    tokens: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


class PivotAttention:
    """attn1 in the keyframes' pass: extended attention of the edited branches, q and k of the source."""

    def __init__(self, name: str, pivots: Pivots, inject: bool) -> None:
        self.name, self.pivots, self.inject = name, pivots, inject

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend: tokens (branches · K, S, C) → output of the same shape."""
        tokens = torch.unflatten(hidden_states, 0, (len(BRANCHES), -1))
        query, key, value = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
        if self.inject:
            query, key = (of_source(x)[None].expand_as(x) for x in (query, key))
        source = attend(attn, *(of_source(x) for x in (query, key, value)))[None]
        edited = attend(attn, *(of_edited(x).flatten(1, 2) for x in (query, key, value)))
        attended = torch.cat([source, edited.view(_EDITED, *source.shape[1:])])
        output = finish(attn, attended.flatten(0, 1))
        self.pivots.tokens[self.name] = of_source(tokens)
        self.pivots.outputs[self.name] = torch.unflatten(output, 0, (len(BRANCHES), -1))
        return output


class FlowAttention:
    """attn1 in the pass of every frame: the keyframes' outputs where their source tokens look alike.

    Args:
        name: Of the layer.
        pivots: Of this step.
        number: Of the interval.
        weights: (F,), the share of the interval's own keyframe; the one before has the rest.
    """

    def __init__(self, name: str, pivots: Pivots, number: int, weights: Tensor) -> None:
        self.name, self.pivots, self.number, self.weights = name, pivots, number, weights

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Put the keyframes' outputs together: tokens (branches · F, S, C) → output of the same shape."""
        source = of_source(torch.unflatten(hidden_states, 0, (len(BRANCHES), -1)))
        own = self._from(self.number, source)
        if self.number > 0:
            weights = self.weights.to(own.dtype)[None, :, None, None]
            own = weights * own + (1.0 - weights) * self._from(self.number - 1, source)
        return own.flatten(0, 1)

    def _from(self, keyframe: int, source: Tensor) -> Tensor:
        """Return for each token the output at a keyframe's most similar one, (branches, F, S, C)."""
        tokens = F.normalize(source.flatten(0, 1), dim=-1)
        keys = F.normalize(self.pivots.tokens[self.name][keyframe], dim=-1)
        nearest = (tokens @ keys.T).argmax(dim=-1)
        outputs = self.pivots.outputs[self.name][:, keyframe]
        return outputs[:, nearest].view(len(BRANCHES), *source.shape[:-1], outputs.shape[-1])


def own_share(frame: int, interval: int) -> float:
    """Return the sigmoid of d₋ / (d₊ + d₋), distances to the middles of a frame's interval and the last."""
    middle = frame // interval * interval + interval // 2
    to_own, to_before = abs(frame - middle), abs(frame - (middle - interval))
    return 1.0 / (1.0 + math.exp(-to_before / (to_own + to_before)))


class TokenFlowStrategy(Strategy):
    """Every frame may become a keyframe, which are drawn anew at each step, and runs at each step."""

    def source_frames(self, length: int, keyframes: Sequence[int]) -> tuple[int, ...]:
        """Return all frames."""
        return tuple(range(length))

    @property
    def every_frame_from(self) -> int:
        """Level that editing starts from."""
        return self.settings.start_level

    def denoiser(self, clip: Clip, networks: Networks) -> Denoiser:
        """Return TokenFlow's own."""
        return TokenFlowDenoiser(clip, networks)


class TokenFlowDenoiser:
    """Denoises all frames of a clip in three branches.

    Args:
        clip: Inverted to the start level, every frame of it.
        networks: ε2, which runs all three branches, with its prompts; ε1 is not used.
    """

    def __init__(self, clip: Clip, networks: Networks) -> None:
        self.clip, self.unet, self.guidance = clip, networks.direction, networks.guidance
        self.settings, self.journal = clip.settings, clip.batches.journal
        target = self.guidance.target
        negative = target if self.guidance.negative is None else self.guidance.negative
        self.text = torch.cat([networks.source_text, negative, target])
        self.stepper = Stepper(clip)
        self.grid = self.stepper.grid

    @property
    def work(self) -> int:
        """Units that `run` reports: frames times steps."""
        return self.clip.length * self.settings.start_level

    def run(self, advance: Advance) -> None:
        """Denoise from the start level to the clean latents of every frame."""
        start, interval = self.settings.start_level, self.settings.interval
        known = self.journal.count("steps")
        advance(known * self.clip.length)
        for step in range(known, start):
            level = start - step
            keyframes = select_keyframes(self.clip.length, interval, self.settings.seed + step + 1)
            pivots = self._pivots(keyframes, step, level)
            for number, first in enumerate(range(0, self.clip.length, interval)):
                frames = range(first, min(first + interval, self.clip.length))
                self._denoise(frames, number, step, level, pivots)
                advance(len(frames))
            self.clip.maps.release()
            self.journal.write(steps=step + 1)

    def _pivots(self, keyframes: Sequence[int], step: int, level: int) -> Pivots:
        """Run the keyframes' pass; what it predicts is not used."""
        injection, pivots = self.settings.injection, Pivots()
        active = injection.enabled and step < int(injection.until * self.settings.start_level)
        injected = set(self_attention(self.unet, injection.layers)) if active else set()
        with processors(
            self.unet, SELF_ATTENTION, lambda name: PivotAttention(name, pivots, name in injected)
        ):
            self._predict(keyframes, step, level)
        return pivots

    def _denoise(self, frames: Sequence[int], number: int, step: int, level: int, pivots: Pivots) -> None:
        """Run the pass of every frame of an interval, and take their step."""
        device = self.clip.backbone.device
        weights = torch.tensor([own_share(f, self.settings.interval) for f in frames], device=device)
        with processors(self.unet, SELF_ATTENTION, lambda name: FlowAttention(name, pivots, number, weights)):
            latents, output = self._predict(frames, step, level)
        self.stepper.step(frames, latents, output, level, begun=self.settings.start_level)

    def _predict(self, frames: Sequence[int], step: int, level: int) -> tuple[Tensor, Tensor]:
        """Return latents (F, C, h, w) at a level, and their guided output; all branches in one batch."""
        injection, start = self.settings.injection, self.settings.start_level
        latents = self.clip.at_level(level)[list(frames)].to(self.clip.backbone.device)
        batch = torch.cat([self.clip.inverted(frames, level), latents, latents])
        text = self.text.repeat_interleave(len(frames), dim=0)
        with ExitStack() as stack:
            if injection.enabled and step < int(injection.residual_until * start):
                stack.enter_context(shared_outputs(self.unet, injection.residual_layers, len(BRANCHES)))
            control = self.clip.control(frames)
            outputs = predict(self.unet, batch, self.grid.timestep(level), text, control).chunk(len(BRANCHES))
        by_name = dict(zip(BRANCHES, outputs, strict=True))
        del by_name["source"]
        return latents, self.guidance.combine(by_name)
