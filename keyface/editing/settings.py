"""What a user chooses about an edit: prompts, and settings with their parts.

The text under each field is also its line in `keyface edit --help`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from keyface.configuration import given, merged
from keyface.diffusion.solvers import Solver
from keyface.editing.parts import (
    MOST_REPLACED,
    RESHAPED,
    Composition,
    Injection,
    Propagation,
    check_choice,
    check_fraction,
    check_within,
)
from keyface.plugins.category import Category
from keyface.plugins.demands import Demands

__all__ = ["Composition", "EditSettings", "Injection", "Prompts", "Propagation", "given_settings"]

MOST_STEPS = 1000
MOST = 2**31 - 1
HIGHEST_GUIDANCE = 100.0
"""Usual scales are below 20; far beyond, frames are saturated and at last not finite."""


@dataclass(frozen=True)
class Prompts:
    """Name what a clip shows, and what it shall show."""

    source: str
    """Caption of the clip as it is; ε1 and the inversion use it."""
    target: str
    """Caption of the clip as it shall become."""
    negative: str | None = None
    """What guidance moves away from. None takes the source caption, so that the edit acts where the two
    captions differ and leaves the rest."""


@dataclass(frozen=True)
class EditSettings:
    """Choose how a clip is edited: everything but the words."""

    steps: int = 50
    """Denoising steps of the whole schedule; inversion and editing share the grid."""
    solver: Solver = "ddim"
    """How a step is made of the predictions: `ddim` is of first order, and the inverse of the inversion;
    `dpmpp_2m` is DPM-Solver++(2M), which also looks at the step before, for edits in few steps."""
    guidance_scale: float = 7.5
    """Scale of classifier-free guidance, from 1 to 100; 1 switches guidance off and halves the cost of ε2.
    Categories ask for a multiple of it."""
    guidance_limit: float | None = None
    """How far guidance may push a place of the latents beyond what the target prompt alone predicts there: a
    root mean square over channels, above 0, in units of the network's output. It keeps colours from going
    past those of real pictures where an edit changes much. None is no limit."""
    guidance_from: float = 0.0
    """Fraction of the denoising steps, from the noisy end, after which guidance begins."""
    guidance_until: float = 1.0
    """Fraction of the denoising steps after which guidance ends; steps outside cost half."""
    interval: int = 8
    """Frames that a keyframe stands for."""
    joint_attention: bool = True
    """Whether keyframes attend to each other (Eq. 2 and 3). With `interval` 1 and False the clip is edited
    frame by frame."""
    window: int = 8
    """Keyframes of a window of joint attention, besides the anchors."""
    anchors: int = 2
    """Keyframes spread over the clip that every window attends to."""
    joint_stride: int = 1
    """In joint attention, 2 lets a keyframe attend to every second token of the other keyframes, and to all
    of its own; 1 to all, which is Eq. 2 and 3."""
    inversion: Literal["base", "identity"] = "base"
    """Which U-Net inverts: `base`, as in the training of both branches, which see latents that the base
    inverted; `identity` is ε1, as in the paper."""
    injection: Injection = field(default_factory=Injection)
    """How ε1 enters ε2."""
    propagation: Propagation = field(default_factory=Propagation)
    """How the edit reaches the other frames."""
    composition: Composition = field(default_factory=Composition)
    """How the edit is put onto the clip."""
    strength: float = 1.0
    """Fraction of the inversion that is used, from 0 to 1; less keeps more of the clip. Categories ask for a
    multiple of it."""
    chunk_size: int = 16
    """Frames of a batch outside joint attention; halved when memory runs out."""
    fixed_point_iterations: int = 1
    """Corrections of each inversion step; 0 is plain DDIM inversion."""
    seed: int = 0
    """Decides which frames become keyframes."""

    def __post_init__(self) -> None:
        for name in ("steps", "interval", "window", "joint_stride", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("steps", "interval", "window", "chunk_size", "anchors", "fixed_point_iterations"):
            most = MOST_STEPS if name == "steps" else MOST
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at most {most}")
        check_choice("solver", self.solver, get_args(Solver))
        check_choice("inversion", self.inversion, ("base", "identity"))
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed is {self.seed}; it must fit into 64 bits")
        for name in ("anchors", "fixed_point_iterations"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("strength", "guidance_from", "guidance_until"):
            check_fraction(name, getattr(self, name))
        check_within("guidance_scale", self.guidance_scale, 1.0, HIGHEST_GUIDANCE)
        if self.guidance_limit is not None and not self.guidance_limit > 0:
            raise ValueError(f"guidance_limit is {self.guidance_limit}; it must be above 0, or null for none")

    def with_values(self, values: Mapping[str, Any], where: str = "settings") -> "EditSettings":
        """Return these settings with the given values in place of their own.

        Args:
            values: Name → value; settings inside `injection`, `propagation` and `composition` by a mapping of
                their own or by dotted names ("injection.until").
            where: File or option that the values come from, for messages.

        Raises:
            ValueError: A name is unknown, or a value is of the wrong type or out of range.
        """
        return merged(self, values, where)

    def for_categories(self, categories: Sequence[Category], family: str | None = None) -> "EditSettings":
        """Return these settings scaled by what the categories of one edit ask for.

        Strength (1 at most) and guidance (at least 1) become the mean of their multiples, the times of
        injection and the composition's thresholds the smallest of their shares. Where a category changes
        shapes, which queries and keys of ε1 would hold, ε1's keys and values are injected, and the outline of
        what it replaces goes.

        Args:
            categories: What is edited together; none leaves the settings as they are.
            family: Of the model, `Backbone.family`, for which categories may ask for other amounts.
        """
        asked = Demands.of([category.for_family(family) for category in categories])
        return replace(
            self,
            strength=min(1.0, asked.strength * self.strength),
            guidance_scale=min(max(1.0, asked.guidance * self.guidance_scale), HIGHEST_GUIDANCE),
            injection=replace(
                self.injection,
                mode="kv" if asked.reshapes else self.injection.mode,
                until=asked.injection * self.injection.until,
                residual_until=asked.residual * self.injection.residual_until,
            ),
            composition=replace(
                self.composition.with_threshold(asked.threshold),
                replaced=min(self.composition.replaced, RESHAPED if asked.reshapes else MOST_REPLACED),
            ),
        )

    @property
    def start_level(self) -> int:
        """Return the level that editing starts from: 1 (almost clean) … `steps` (the whole inversion)."""
        return max(1, round(self.strength * self.steps))

    def guided(self, step: int) -> bool:
        """Tell whether denoising step `step` (0 is the noisiest) is guided."""
        steps = self.start_level
        return self.guidance_from * steps <= step < self.guidance_until * steps


def given_settings(
    settings: Mapping[str, Any] | None,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    compose: str | None = None,
) -> dict[str, Any]:
    """Return the settings that a user gives, checked and nested, with those of the short options among them.

    Args:
        settings: Values of `EditSettings` by name.
        steps: `--steps`.
        guidance: `--guidance`, short for `guidance_scale`.
        strength: `--strength`.
        seed: `--seed`.
        compose: `--compose`, short for `composition.mode`.

    Raises:
        ValueError: A name is unknown, a value does not fit, or a setting is given twice.
    """
    short = {
        "steps": ("steps", steps),
        "guidance": ("guidance_scale", guidance),
        "strength": ("strength", strength),
        "seed": ("seed", seed),
        "compose": ("composition.mode", compose),
    }
    found = dict(settings or {})
    for option, (name, value) in short.items():
        if value is None:
            continue
        group, _, inner = name.rpartition(".")
        if name in found or inner in found.get(group, {}):
            raise ValueError(f"--{option} and --settings.{name} say the same; give one of the two")
        found[name] = value
    return given(EditSettings, found, "settings")
