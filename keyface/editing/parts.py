"""The parts of an edit's settings: injection, propagation, composition.

The text under each field is also its line in `keyface edit --help`.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

SELF_ATTENTION = r"attn1$"
DECODER_SELF_ATTENTION = r"up_blocks.*attn1$"
HIGHEST_LOCALITY = 100.0
"""Similarities lie in [-1, 1]: at 100 nothing moves further than a seventh of the image."""

WIDEST_BLUR = 0.5
"""Of the side; far beyond, a mask is one value everywhere."""

RESHAPED = 0.3
"""`Composition.replaced` of edits that change shapes: bangs and hats leave no outline where they were. Hair
that only changes colour keeps its strands."""

LEAST_REPLACED, MOST_REPLACED = 0.01, 4.0
"""At the most half of it is the largest change that there is, 2."""

LONGEST_SMOOTHING = 25.0
"""Frames; three times as many are looked ahead, and kept in memory."""


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless a value is from 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; it is a fraction from 0 to 1")


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless a value is a number from `low` to `high`."""
    if not low <= value <= high:  # nor is NaN
        raise ValueError(f"{name} is {value:g}; it must be a number from {low:g} to {high:g}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class Injection:
    """Choose how ε1's self-attention enters ε2."""

    mode: Literal["qk", "kv", "output"] = "qk"
    """What ε2 takes from ε1: `qk` queries and keys; `kv` keys and values, for edits that change shapes;
    `output` the whole output of the layer, which also removes joint attention there."""
    layers: str = DECODER_SELF_ATTENTION
    """Regular expression, searched in the names of the attn1 modules."""
    until: float = 0.5
    """Fraction of the denoising steps, from the noisy end, in which features are injected. Categories ask
    for a share of it."""
    enabled: bool = True
    """False leaves ε2 alone (the paper's ablation)."""
    residual_layers: str = r"up_blocks\.1\.resnets\.1\.conv2$"
    """Regular expression for the modules whose outputs Plug-and-Play would replace."""
    residual_until: float = 0.0
    """Fraction of the steps with residual features injected; 0 is never."""

    def __post_init__(self) -> None:
        check_choice("injection.mode", self.mode, ("qk", "kv", "output"))
        check_fraction("injection.until", self.until)
        check_fraction("injection.residual_until", self.residual_until)
        for name in ("layers", "residual_layers"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(
                    f"injection.{name} is {getattr(self, name)!r}, no regular expression: {error}"
                ) from error

    @classmethod
    def tokenflow(cls) -> "Injection":
        """Return TokenFlow's: q and k of all decoder layers but the first, one ResNet block's residual."""
        return cls(
            layers=r"up_blocks\.(1\.attentions\.[1-9]|[2-9]\.attentions\.\d+)\..*attn1$",
            until=0.5,
            residual_until=0.8,
        )

    def attention_active(self, step: int, steps: int) -> bool:
        """Tell whether denoising step `step` (0 is the noisiest) of `steps` takes ε1's attention."""
        return self.enabled and step < self.until * steps

    def residual_active(self, step: int, steps: int) -> bool:
        """Tell whether denoising step `step` (0 is the noisiest) of `steps` takes ε1's residual features."""
        return self.enabled and step < self.residual_until * steps


@dataclass(frozen=True)
class Propagation:
    """Choose how the keyframes' edit reaches every other frame (Eq. 4)."""

    mode: Literal["tokens", "latent", "tokenflow"] = "tokens"
    """`tokens` runs every frame through ε2, attn1 replaced by the keyframes' tokens; `latent` denoises only
    keyframes and moves the latent edit along the correspondences; `tokenflow` does what TokenFlow's published
    code does."""
    keyframes_first: float = 0.4
    """In `tokens`, the fraction of the denoising steps, from the noisy end, that only keyframes take. Then
    their edit so far is moved onto the other frames, which take the rest. 0 runs every frame at every step,
    as the paper does."""
    correspondence_at: tuple[float, ...] = (0.2,)
    """Fractions of the inversion at which tokens of the inverting U-Net are compared."""
    invert_others: int = 1
    """In `tokens`, how the frames between keyframes are inverted: 1 through all levels, 2 through every
    second one; 0 not at all, they begin with their own clean latent and the noise of their keyframes."""
    cancel_inversion: bool = True
    """In `latent`, whether an edit is what differs from the keyframe after inversion and reconstruction,
    which cancels their errors. False takes the difference from the clean latent, and reconstructs only the
    keyframes that the gate looks at."""
    locality: float = 0.5
    """Cost of moving, which decides between look-alike tokens: a displacement of d image sides lowers the
    cosine similarity by locality · d²; from 0 to 100."""

    def __post_init__(self) -> None:
        check_choice("propagation.mode", self.mode, ("tokens", "latent", "tokenflow"))
        check_fraction("propagation.keyframes_first", self.keyframes_first)
        if not self.correspondence_at:
            raise ValueError("propagation.correspondence_at is empty; give at least one fraction")
        for fraction in self.correspondence_at:
            check_fraction("propagation.correspondence_at", fraction)
        if self.invert_others < 0:
            raise ValueError(f"propagation.invert_others is {self.invert_others}; it must be at least 0")
        check_within("propagation.locality", self.locality, 0.0, HIGHEST_LOCALITY)

    @classmethod
    def tokenflow(cls) -> "Propagation":
        """Return TokenFlow, to be compared with ours in one program; goes with `Injection.tokenflow()`."""
        return cls(mode="tokenflow")


@dataclass(frozen=True)
class Composition:
    """Choose how the decoded edit is put onto the clip, so that only what the edit changed changes.

    d is the decoded edit minus the autoencoder's round trip of the clip; the mask M in [0, 1] rises with the
    magnitude of d. Intensities are in [-1, 1], lengths are fractions of the frame's shorter side.
    """

    mode: Literal["detail", "mask", "off"] = "detail"
    """What a frame becomes: `detail` the clip plus the change that the edit made, inside the mask of what
    changed, which keeps every detail of the clip; `mask` the decoded edit inside that mask, and the clip
    outside it; `off` the decoded edit, which the autoencoder blurs everywhere."""
    low: float = 0.06
    """Change up to which a pixel is outside the mask; 2 is from black to white. Categories ask for a multiple
    of it."""
    high: float = 0.1
    """Change from which a pixel is wholly inside the mask. Categories ask for a multiple of it."""
    blur: float = 0.03
    """Standard deviation of the Gaussian by which the change is averaged over its neighbourhood, as a
    fraction of the side; 0 is none."""
    feather: float = 0.02
    """Standard deviation of the Gaussian that softens the edge of the mask, as a fraction of the side; 0 is
    none."""
    replaced: float = MOST_REPLACED
    """Change from which nothing of the clip's own detail is kept, since what it belonged to is gone; from
    half of it on less is kept. At 4 all of it is; edits that change shapes ask for .3. With the mode
    `detail`."""
    smoothing: float = 1.0
    """Standard deviation, in frames, of the Gaussian by which the mask is averaged over time; 0 is none."""
    margin: float = 0.03
    """How far the regions of an edit are grown before the mask is held to them, as a fraction of the side;
    without known regions of no effect."""

    def __post_init__(self) -> None:
        check_choice("composition.mode", self.mode, ("detail", "mask", "off"))
        check_within("composition.low", self.low, 0.0, 2.0)
        if not self.low < self.high <= 2.0:
            raise ValueError(
                f"composition.high is {self.high:g}; it must be above composition.low ({self.low:g}) and at "
                "most 2"
            )
        check_within("composition.replaced", self.replaced, LEAST_REPLACED, MOST_REPLACED)
        for name in ("blur", "feather", "margin"):
            check_within(f"composition.{name}", getattr(self, name), 0.0, WIDEST_BLUR)
        check_within("composition.smoothing", self.smoothing, 0.0, LONGEST_SMOOTHING)

    def with_threshold(self, multiple: float) -> "Composition":
        """Return this with `low` and `high` times a multiple; no change is greater than 2."""
        high = min(multiple * self.high, 2.0)
        return replace(self, low=min(multiple * self.low, self.low / self.high * high), high=high)
