"""What a user chooses about an edit: prompts, injection, propagation and the rest."""

import re
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from keyface.diffusion.solvers import Solver

HIGHEST_GUIDANCE = 100.0
"""Usual scales are below 20; far beyond, frames are saturated and at last not finite."""

HIGHEST_LOCALITY = 100.0
"""Similarities lie in [-1, 1]: at 100 nothing moves further than a seventh of the image."""

SELF_ATTENTION = r"attn1$"
DECODER_SELF_ATTENTION = r"up_blocks.*attn1$"


def _fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; it is a fraction from 0 to 1")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # nor is NaN
        raise ValueError(f"{name} is {value:g}; it must be a number from {low:g} to {high:g}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class Prompts:
    """The words of one edit.

    Attributes:
        source: caption of the clip as it is; ε1 and the inversion use it.
        target: caption of the clip as it shall become.
        negative: what guidance moves away from; None takes the source caption, which makes the edit act
            where the two captions differ and leaves the rest.
    """

    source: str
    target: str
    negative: str | None = None


@dataclass(frozen=True)
class Injection:
    """How ε1's self-attention enters ε2.

    Attributes:
        mode: `qk` takes queries and keys from ε1 and values from ε2; `kv` keys and values; `output` the
            whole output of the layer, which also removes joint attention there.
        layers: regular expression, searched in the names of the attn1 modules.
        until: fraction of the denoising steps, from the noisy end, in which features are injected.
        enabled: False leaves ε2 alone (the paper's ablation).
        residual_layers: regular expression for the modules whose outputs Plug-and-Play would replace.
        residual_until: fraction of the steps with residual features injected; 0 is never.
    """

    mode: Literal["qk", "kv", "output"] = "qk"
    layers: str = DECODER_SELF_ATTENTION
    until: float = 0.5
    enabled: bool = True
    residual_layers: str = r"up_blocks\.1\.resnets\.1\.conv2$"
    residual_until: float = 0.0

    def __post_init__(self) -> None:
        _one_of("injection.mode", self.mode, ("qk", "kv", "output"))
        _fraction("injection.until", self.until)
        _fraction("injection.residual_until", self.residual_until)
        for pattern in (self.layers, self.residual_layers):
            re.compile(pattern)

    @classmethod
    def tokenflow(cls) -> "Injection":
        """TokenFlow's: q and k of all decoder layers but the first one, and one ResNet block's residual."""
        return cls(
            layers=r"up_blocks\.(1\.attentions\.[1-9]|[2-9]\.attentions\.\d+)\..*attn1$",
            until=0.5,
            residual_until=0.8,
        )

    def ended_at(self, fraction: float) -> "Injection":
        """The same, but attention until `fraction` of the steps and residual features no longer."""
        return replace(self, until=fraction, residual_until=min(self.residual_until, fraction))

    def attention_active(self, step: int, steps: int) -> bool:
        """Whether denoising step `step` (0 is the noisiest) of `steps` takes ε1's attention."""
        return self.enabled and step < self.until * steps

    def residual_active(self, step: int, steps: int) -> bool:
        """Whether denoising step `step` (0 is the noisiest) of `steps` takes ε1's residual features."""
        return self.enabled and step < self.residual_until * steps


@dataclass(frozen=True)
class Propagation:
    """How the keyframes' edit reaches every other frame (Eq. 4).

    Attributes:
        mode: `tokens` runs every frame through ε2, attn1 replaced by the keyframes' tokens; `latent` denoises
            only keyframes and moves the latent edit along the correspondences; `tokenflow` does what
            TokenFlow's published code does (`keyface.editing.strategies.tokenflow`).
        keyframes_first: in `tokens`, the fraction of the denoising steps, from the noisy end, that only
            keyframes take; then their edit so far is moved onto the other frames' inverted latents, which
            take the rest. 0 runs every frame at every step, as the paper does, which took a quarter longer
            on four clips of the miniature and flickered more (temporal loss .00340; .4: .00328).
        correspondence_at: fractions of the inversion at which tokens of the inverting U-Net are compared.
        locality: cost of moving: a displacement of d image sides lowers the cosine similarity by
            locality · d². It decides between look-alike tokens; from 0 to 100.
    """

    mode: Literal["tokens", "latent", "tokenflow"] = "tokens"
    keyframes_first: float = 0.4
    correspondence_at: tuple[float, ...] = (0.2,)
    locality: float = 0.5

    def __post_init__(self) -> None:
        _one_of("propagation.mode", self.mode, ("tokens", "latent", "tokenflow"))
        _fraction("propagation.keyframes_first", self.keyframes_first)
        if not self.correspondence_at:
            raise ValueError("propagation.correspondence_at is empty; give at least one fraction")
        for fraction in self.correspondence_at:
            _fraction("propagation.correspondence_at", fraction)
        _within("propagation.locality", self.locality, 0.0, HIGHEST_LOCALITY)

    @classmethod
    def tokenflow(cls) -> "Propagation":
        """TokenFlow, to be compared with ours in one program; goes with `Injection.tokenflow()`."""
        return cls(mode="tokenflow")


@dataclass(frozen=True)
class EditSettings:
    """Everything but the words.

    Attributes:
        steps: steps of the whole schedule; inversion and editing share the grid.
        solver: how a step is made of the predictions: `ddim` is of first order, and the inverse of the
            inversion; `dpmpp_2m` is DPM-Solver++(2M), which also looks at the step before
            (`keyface.diffusion.solvers`), for edits in few steps.
        guidance_scale: 1 switches guidance off and halves the cost of ε2; from 0 to 100.
        guidance_from: fraction of the denoising steps, from the noisy end, after which guidance begins.
        guidance_until: fraction after which it ends; steps outside cost half.
        interval: frames a keyframe stands for.
        joint_attention: keyframes attend to each other (Eq. 2–3). With `interval=1` and False the clip is
            edited frame by frame.
        window: keyframes of a window of joint attention, besides the anchors.
        anchors: keyframes spread over the clip that every window attends to.
        inversion: which U-Net inverts: `base`, as in the training of both branches, which see latents that
            the base inverted; `identity` is ε1, as in the paper, from whose latents ε2 has not learned to
            come back.
        injection: how ε1 enters ε2.
        propagation: how the edit reaches the other frames.
        strength: fraction of the inversion that is used; less keeps more of the clip.
        chunk_size: frames a batch outside joint attention; halved when memory runs out.
        fixed_point_iterations: corrections of each inversion step; 0 is plain DDIM inversion.
        seed: of the choice of keyframes.
    """

    steps: int = 50
    solver: Solver = "ddim"
    guidance_scale: float = 7.5
    guidance_from: float = 0.0
    guidance_until: float = 1.0
    interval: int = 8
    joint_attention: bool = True
    window: int = 8
    anchors: int = 2
    inversion: Literal["base", "identity"] = "base"
    injection: Injection = field(default_factory=Injection)
    propagation: Propagation = field(default_factory=Propagation)
    strength: float = 1.0
    chunk_size: int = 16
    fixed_point_iterations: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "interval", "window", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        _one_of("solver", self.solver, get_args(Solver))
        _one_of("inversion", self.inversion, ("base", "identity"))
        for name in ("anchors", "fixed_point_iterations"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        _within("guidance_scale", self.guidance_scale, 0.0, HIGHEST_GUIDANCE)
        for name in ("strength", "guidance_from", "guidance_until"):
            _fraction(name, getattr(self, name))

    def asked(
        self, strength: float, guidance: float, injection: float, reshapes: bool = False
    ) -> "EditSettings":
        """These settings for an edit that asks for so much of each.

        Args:
            strength: the strength; 1 at most is used.
            guidance: a multiple of the guidance scale, which stays at least 1.
            injection: a share of the steps in which attention is injected, in [0, 1].
            reshapes: whether shapes change, which queries and keys of ε1 would hold: then its keys and values
                are injected.
        """
        mode = "kv" if reshapes else self.injection.mode
        return replace(
            self,
            strength=min(1.0, strength),
            guidance_scale=max(1.0, guidance * self.guidance_scale),
            injection=replace(self.injection, mode=mode, until=injection * self.injection.until),
        )

    @property
    def start_level(self) -> int:
        """Level that editing starts from: 1 (almost clean) … `steps` (the whole inversion)."""
        return max(1, round(self.strength * self.steps))

    def guided(self, step: int) -> bool:
        """Whether denoising step `step` (0 is the noisiest) is guided."""
        steps = self.start_level
        return self.guidance_from * steps <= step < self.guidance_until * steps
